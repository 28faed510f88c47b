#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <variant>

#include "common/base/bounded_queue.h"
#include "common/messages/weight_manifest.h"
#include "common/model/broadcast_group.h"
#include "common/model/parameters.h"

namespace troupe {

/// An actor's side of weights over NCCL: in a thread of its own it joins the groups that the hub names and receives what rank 0 sends
/// there, so that neither holds up generation. A member that is late or dead costs the group's deadline, never more. One thread at a
/// time.
class BroadcastReceiver {
 public:
  /// Both are called in that thread: `join` makes a group, `room` the parameters that a version is received into.
  BroadcastReceiver(std::function<std::unique_ptr<BroadcastGroup>(const WeightGroup&)> join, std::function<Parameters()> room);
  /// Waits for what is under way, up to its deadline.
  ~BroadcastReceiver();
  BroadcastReceiver(const BroadcastReceiver&) = delete;
  BroadcastReceiver& operator=(const BroadcastReceiver&) = delete;

  void join(const WeightGroup& group) { give(group); }
  void expect(const WeightBroadcast& broadcast) { give(broadcast); }

  /// What became of an expected version; of a group that could not be joined, without a version.
  struct Outcome {
    std::optional<std::uint64_t> version;
    std::optional<Parameters> parameters;  // not verified; nothing where it failed
    std::string problem;
  };
  /// The oldest outcome not seen yet.
  std::optional<Outcome> poll() { return outcomes_.pop(Deadline::after_ms(0)); }

 private:
  using Task = std::variant<WeightGroup, WeightBroadcast>;
  void give(Task task);
  void run();
  std::optional<Outcome> work_on(const WeightGroup& group);
  std::optional<Outcome> work_on(const WeightBroadcast& broadcast);

  std::function<std::unique_ptr<BroadcastGroup>(const WeightGroup&)> join_;
  std::function<Parameters()> room_;
  std::unique_ptr<BroadcastGroup> group_;  // of the thread alone
  std::uint64_t group_number_ = 0;         // likewise
  BoundedQueue<Task> tasks_;
  BoundedQueue<Outcome> outcomes_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace troupe
