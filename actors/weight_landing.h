#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <c10/core/Stream.h>

#include "common/base/shared_memory.h"
#include "common/messages/weight_manifest.h"
#include "common/model/parameters.h"
#include "common/model/pinned_range.h"

namespace troupe {

/// "bucket 3 of 17 of weights version 5".
std::string bucket_name(const WeightManifest& manifest, std::uint64_t bucket);

/// Where versions come to lie: parameters on the actor's device, written and checked beside its generation (on a GPU on a stream of
/// their own). Any thread, one at a time for the same parameters.
class WeightLanding {
 public:
  WeightLanding(const Architecture& architecture, at::Device device);

  const ParameterLayout& layout() const { return layout_; }

  /// Room for a version of the manifest's type.
  Parameters room(const std::string& dtype) const;

  /// Copies a bucket into place and checks the copy. What is wrong, or "".
  std::string put(const WeightManifest& manifest, std::uint64_t bucket, std::string_view bytes, const Parameters& parameters) const;

  /// Copies all of a version from shared memory. What is wrong, or "".
  std::string copy_shared_memory(const WeightManifest& manifest, const Parameters& parameters);

  /// What is wrong with parameters that were written otherwise, or "".
  std::string verify(const WeightManifest& manifest, const Parameters& parameters) const;

  /// Lets go of the mappings of an earlier hub.
  void forget() { segments_.clear(); }

 private:
  /// A mapping that stays for the versions to come.
  struct Segment {
    explicit Segment(SharedMemory shared) : memory(std::move(shared)) {}
    SharedMemory memory;
    std::optional<PinnedRange> pinned;  // where the weights go to a GPU
  };

  Architecture architecture_;
  ParameterLayout layout_;
  at::Device device_;
  std::optional<c10::Stream> stream_;  // of a GPU
  std::map<std::string, std::unique_ptr<Segment>> segments_;
};

}  // namespace troupe
