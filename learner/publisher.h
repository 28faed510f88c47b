#pragma once

#include <cstdint>
#include <string>

#include "common/base/logger.h"
#include "common/model/parameters.h"
#include "learner/hub/hub.h"

namespace troupe {

inline constexpr std::uint64_t kWeightBucketBytes = std::uint64_t{8} << 20;

/// Turns parameters into versions that actors can fetch. The bytes of a version lie once in shared memory
/// "/troupe-<run_id>-v<version>" (mode 0600), which actors on this host map and the hub's stream reads; where there is
/// no room for it they lie on the heap, for the stream alone, and a warning says so. One thread at a time.
class Publisher {
 public:
  /// Clears what a killed run of this id left in shared memory. @throws ConfigError where run_id cannot be part of a
  /// name.
  Publisher(std::string run_id, Logger logger);
  /// Unlinks the versions that the hub still holds: at exit nothing is left behind.
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  /// Copies `parameters` (compute dtype) and sums them up. The bytes live as long as the result's owner, and are
  /// complete before the manifest can be seen.
  PublishedWeights publish(const Parameters& parameters, std::uint64_t version);

 private:
  std::string name_prefix() const;  // then the version

  std::string run_id_;
  Logger logger_;
  bool warned_ = false;
};

}  // namespace troupe
