#include "learner/hub/weight_shelf.h"

#include <string>

#include "common/base/error.h"

namespace troupe {
namespace {

constexpr std::size_t kVersionsKept = 2;

}  // namespace

void WeightShelf::put(PublishedWeights weights) {
  check(weights.bytes.size() == weights.manifest.total_bytes,
        "published weights have not the size that their manifest says");
  const std::uint64_t version = weights.manifest.version;
  check(versions_.empty() || version >= versions_.rbegin()->first, "an older version was published after a newer one");
  versions_[version] = std::move(weights);
  while (versions_.size() > kVersionsKept) versions_.erase(versions_.begin());
}

const WeightManifest* WeightShelf::newest() const {
  return versions_.empty() ? nullptr : &versions_.rbegin()->second.manifest;
}

const WeightManifest* WeightShelf::manifest(const ManifestRequest& request) const {
  const auto found = versions_.find(request.version);
  return request.newest || found == versions_.end() ? newest() : &found->second.manifest;
}

WeightChunk WeightShelf::chunk(const ChunkRequest& request) const {
  WeightChunk chunk;
  chunk.version = request.version;
  chunk.bucket = request.bucket;
  const auto found = versions_.find(request.version);
  chunk.gone = found == versions_.end();
  if (chunk.gone) return chunk;
  const WeightManifest& manifest = found->second.manifest;
  if (request.bucket >= manifest.bucket_checksums.size()) {
    throw ProtocolError("ChunkRequest.bucket: expected a number below " +
                        std::to_string(manifest.bucket_checksums.size()) + ", found " + std::to_string(request.bucket));
  }
  chunk.bytes = found->second.bytes.substr(request.bucket * manifest.bucket_bytes, manifest.bucket_bytes);
  return chunk;
}

}  // namespace troupe
