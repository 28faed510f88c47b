#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/clock.h"
#include "common/base/logger.h"
#include "common/messages/weight_manifest.h"
#include "common/model/parameters.h"

namespace troupe {

/// How an actor gets weights (actors.weights).
enum class WeightPath {
  kAuto,          // shared memory where the hub is on this host and it can be opened, else the stream
  kSharedMemory,  // only that
  kStream,        // only that
};
/// @throws ConfigError naming actors.weights and its values.
WeightPath weight_path_named(std::string_view name);

/// A complete, verified version.
struct ArrivedWeights {
  Parameters parameters;
  std::uint64_t version = 0;
};

struct SubscriberOptions {
  Architecture architecture;
  WeightPath path = WeightPath::kAuto;
  bool hub_on_this_host = false;
  double retry_s = 10;  // a request without answer is sent again after this
};

/// An actor's side of the weights: told of manifests, it fetches the newest bucket by bucket into parameters of its own
/// and gives them out when every checksum has held, or not at all. It only says what is to be sent; the actor loop owns
/// the session. One thread at a time.
class WeightSubscriber {
 public:
  WeightSubscriber(SubscriberOptions options, const Clock& clock, Logger logger);

  /// Takes note of a published version. A fetch under way is finished first.
  /// @throws ConfigError where its tensors are not those of the architecture, naming the first that differs.
  void offer(const WeightManifest& manifest);
  /// The answer to a ChunkRequest. What was not asked for is ignored.
  /// @throws TransportError where a bucket failed its checksum three times.
  void receive(const WeightChunk& chunk);
  /// After a new registration: what was asked for is asked for again; with `forget` (another incarnation of the hub)
  /// also what was fetched and known is void.
  void restart(bool forget);

  /// The next version that is complete. Copies from shared memory here. @throws TransportError as receive does.
  std::optional<ArrivedWeights> take();
  /// The frame that is to be sent now, if any. Call `take` first.
  std::optional<std::string> due_frame();

  /// The newest version taken; nothing before the first.
  std::optional<std::uint64_t> held() const { return held_; }
  /// For the log: "bucket 3 of 17 of weights version 5", or "".
  std::string waiting_for() const;
  std::uint64_t refused_buckets() const { return refused_buckets_; }

 private:
  struct Fetch {
    WeightManifest manifest;
    Parameters parameters;
    std::uint64_t bucket = 0;  // the next one
    int failures = 0;          // of this bucket
    bool stream = false;
  };
  bool newer_than_known(std::uint64_t version) const;
  void check_layout(const WeightManifest& manifest) const;
  void begin(WeightManifest manifest);
  bool load_shared_memory();
  bool accept_bucket(std::string_view bytes, std::string_view source);
  void ask_for_newest();
  bool request_is_due();

  SubscriberOptions options_;
  const Clock& clock_;
  Logger logger_;
  ParameterLayout layout_;
  std::optional<Fetch> fetch_;
  std::optional<WeightManifest> next_;  // the newest one offered while a fetch is under way
  std::optional<std::uint64_t> held_;
  bool need_manifest_ = true;
  std::optional<std::int64_t> asked_at_ms_;  // of the request whose answer is awaited
  int missing_ = 0;                          // times in a row that shared memory was not there or wrong
  std::uint64_t refused_buckets_ = 0;
};

}  // namespace troupe
