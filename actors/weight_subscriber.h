#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "actors/broadcast_receiver.h"
#include "actors/weight_landing.h"
#include "common/base/clock.h"
#include "common/base/logger.h"
#include "common/messages/weight_manifest.h"
#include "common/model/broadcast_group.h"
#include "common/model/parameters.h"

namespace troupe {

/// How an actor gets weights (actors.weights). Whatever NCCL does not bring, a first version or one whose group failed, comes as with
/// kAuto otherwise.
enum class WeightPath {
  kAuto,          // on the hub's host: NCCL to a GPU of its own, else shared memory where it can be opened; else the stream
  kSharedMemory,  // only that
  kNccl,          // NCCL, wherever the hub is
  kStream,        // only that
};
/// @throws ConfigError naming actors.weights and its values.
WeightPath weight_path_named(std::string_view name);

/// A complete, verified version.
struct ArrivedWeights {
  Parameters parameters;
  std::uint64_t version = 0;
  const char* path = "";  // "shm", "nccl" or "stream": the way that it came
};

struct SubscriberOptions {
  Architecture architecture;
  WeightPath path = WeightPath::kAuto;
  bool hub_on_this_host = false;
  double retry_s = 10;  // a request without answer is sent again after this
  at::Device device = at::kCPU;  // where the weights are to lie
  std::string gpu = {};          // gpu_name(device)
  /// Makes a group to receive in; called in another thread.
  std::function<std::unique_ptr<BroadcastGroup>(const BroadcastPlace&)> join = {};
};

/// An actor's side of the weights: told of manifests, it gets the newest into parameters of its own and gives them out when
/// every checksum has held, or not at all. What takes time is done beside generation, in other threads. It only says what is to be
/// sent; the actor loop owns the session. One thread at a time.
class WeightSubscriber {
 public:
  /// @throws ConfigError where NCCL is asked for and this actor has no GPU.
  WeightSubscriber(SubscriberOptions options, const Clock& clock, Logger logger);

  /// Takes note of a published version. A fetch under way is finished first.
  /// @throws ConfigError where its tensors are not those of the architecture, naming the first that differs.
  void offer(const WeightManifest& manifest);
  /// The answer to a ChunkRequest. What was not asked for is ignored.
  void receive(const WeightChunk& chunk);
  /// A group to receive weights in, and a version that is sent there; its manifest follows. Ignored where it was not asked for.
  void join(const WeightGroup& group);
  void expect(const WeightBroadcast& broadcast);
  /// After a new registration: what was asked for is asked for again; with `forget` (another incarnation of the hub)
  /// also what was fetched and known is void.
  void restart(bool forget);

  /// The next version that is complete. @throws TransportError where a bucket failed its checksum three times, or the only way to
  /// get weights is shut.
  std::optional<ArrivedWeights> take();
  /// The frame that is to be sent now, if any. Call `take` first.
  std::optional<std::string> due_frame();

  /// The newest version taken; nothing before the first.
  std::optional<std::uint64_t> held() const { return held_; }
  /// For the log: "bucket 3 of 17 of weights version 5", or "".
  std::string waiting_for() const;
  /// Copies that were not what was published.
  std::uint64_t refused() const { return refused_; }
  /// Whether a version may be there soon without another frame: do not wait long for one.
  bool coming() const { return (fetch_ && fetch_->job.valid()) || broadcast_; }

 private:
  struct Copied {
    Parameters parameters;
    std::string problem;
  };
  struct Fetch {
    WeightManifest manifest;
    std::optional<Parameters> parameters = {};  // once something was copied
    std::uint64_t bucket = 0;                   // the next one
    int failures = 0;                           // of this bucket
    bool stream = false;
    std::future<Copied> job = {};  // what is being copied
  };
  /// A version that is sent in the group.
  struct Broadcast {
    std::uint64_t version = 0;
    std::optional<WeightManifest> manifest = {};
    std::optional<Parameters> parameters = {};
  };
  bool newer_than_known(std::uint64_t version) const;
  void check_layout(const WeightManifest& manifest) const;
  void begin_fetch();
  bool copying() const;
  void begin_job(std::function<std::string(const WeightManifest&, const Parameters&)> copy);
  void end_job();
  void shared_memory_is_shut(const std::string& problem);
  void ask_for_newest();
  bool request_is_due();
  void end_broadcasts();
  void broadcast_failed(const std::string& problem);
  std::optional<ArrivedWeights> take_broadcast();
  ArrivedWeights arrived(Parameters parameters, std::uint64_t version, const char* path);

  SubscriberOptions options_;
  const Clock& clock_;
  Logger logger_;
  WeightLanding landing_;
  std::optional<Fetch> fetch_;
  std::optional<WeightManifest> next_;  // the newest one offered while a fetch is under way
  std::optional<Broadcast> broadcast_;  // the newest
  std::optional<std::uint64_t> held_;
  bool need_manifest_ = true;
  bool membership_due_ = false;              // the hub is to be told whether weights can come over NCCL
  std::optional<std::int64_t> asked_at_ms_;  // of the request whose answer is awaited
  int missing_ = 0;                          // times in a row that shared memory was not there or wrong
  int failed_broadcasts_ = 0;                // in a row
  std::uint64_t refused_ = 0;
  std::optional<BroadcastReceiver> receiver_;  // last: its thread uses the landing
};

}  // namespace troupe
