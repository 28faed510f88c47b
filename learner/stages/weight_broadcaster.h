#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "common/base/logger.h"
#include "common/model/broadcast_group.h"
#include "learner/hub/hub.h"

namespace troupe {

/// Rank 0's side of weights over NCCL: a group of itself and the actors that offered to take weights so, each on a GPU of its own. When
/// those change a new group is made, beside the training, and used once it is there; weights come to actors otherwise until then. So a
/// member that comes costs nothing, and one that dies in a broadcast costs the deadline once. One thread at a time.
class WeightBroadcaster {
 public:
  struct Options {
    std::string gpu;                                              // this process's; "": nothing is ever broadcast
    std::function<std::vector<WeightTaker>()> takers;             // who there is
    std::function<void(const PeerId&, std::string frame)> tell;  // sends to one, in order
    std::function<std::string()> new_id;
    std::function<std::unique_ptr<BroadcastGroup>(const BroadcastPlace&)> join;  // called in another thread
  };
  WeightBroadcaster(Options options, Logger logger);

  /// Where there is a group: tells its members that `version` comes, before they are told of its manifest, and begins to send it
  /// in another thread; `flat` stays as it is until the result is waited for. Looks after the group.
  std::future<void> send(const at::Tensor& flat, std::uint64_t version);

 private:
  void form(std::vector<WeightTaker> takers);
  bool group_is_ready();
  bool announce(std::uint64_t version);
  void broadcast(const at::Tensor& flat);
  std::string names() const;

  Options options_;
  Logger logger_;
  std::uint64_t number_ = 0;            // of the newest group
  std::vector<WeightTaker> takers_;     // its members
  std::unique_ptr<BroadcastGroup> group_;
  std::future<std::unique_ptr<BroadcastGroup>> forming_;
};

}  // namespace troupe
