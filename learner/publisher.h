#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/logger.h"
#include "common/base/shared_memory.h"
#include "common/model/parameters.h"
#include "common/model/pinned_range.h"
#include "learner/hub/hub.h"

namespace troupe {

inline constexpr std::uint64_t kWeightBucketBytes = std::uint64_t{8} << 20;

/// Turns parameters into versions that actors can fetch. The bytes of a version lie once in shared memory
/// "/troupe-<run_id>-v<number>" (mode 0600), which actors on this host map and the hub's stream reads; where there is
/// no room for it they lie on the heap, for the stream alone, and a warning says so. Once nobody holds a version any more its memory
/// serves for a later one: who still reads it finds that by the checksums. One thread at a time.
class Publisher {
 public:
  /// Clears what a killed run of this id left in shared memory. @throws ConfigError where run_id cannot be part of a
  /// name.
  Publisher(std::string run_id, Logger logger);
  /// Unlinks what is left: at exit nothing stays behind.
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  /// Copies `parameters` (compute dtype, on any device) in one pass and sums them up where they lie. The bytes live as long as the
  /// result's owner, and are complete before the manifest can be seen.
  PublishedWeights publish(const Parameters& parameters, std::uint64_t version);

  /// Lets shared memory go that nobody holds any more.
  void clear();

 private:
  struct Segment {
    explicit Segment(SharedMemory shared) : memory(std::move(shared)) {}
    SharedMemory memory;
    std::optional<PinnedRange> pinned;  // where the parameters lie on a GPU
  };
  std::string name_prefix() const;  // then a number
  std::shared_ptr<Segment> free_segment(const at::Tensor& flat);

  std::string run_id_;
  Logger logger_;
  std::vector<std::shared_ptr<Segment>> segments_;  // shared with the versions that lie there
  std::uint64_t next_number_ = 0;
  bool warned_ = false;
};

}  // namespace troupe
