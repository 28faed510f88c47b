#pragma once

#include <cstdint>
#include <map>

#include "common/messages/weight_manifest.h"
#include "learner/hub/hub.h"

namespace troupe {

/// The published versions that peers may still fetch: the newest two. One thread at a time.
class WeightShelf {
 public:
  /// Adds a version newer than all others and lets go of those that are no longer needed.
  void put(PublishedWeights weights);
  /// Nothing where no version was published yet.
  const WeightManifest* newest() const;
  /// The version asked for, or the newest where it is not held; nothing where none was published.
  const WeightManifest* manifest(const ManifestRequest& request) const;
  /// The bucket's bytes, or `gone`. @throws ProtocolError where the version has no such bucket.
  WeightChunk chunk(const ChunkRequest& request) const;

 private:
  std::map<std::uint64_t, PublishedWeights> versions_;
};

}  // namespace troupe
