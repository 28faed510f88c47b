#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace troupe {

/// Where one tensor lies in the flat buffer of a published version.
struct TensorEntry {
  std::string name;
  std::vector<std::int64_t> shape;
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
  bool operator==(const TensorEntry&) const = default;
};

/// A published version: its tensors in one flat little-endian buffer, cut into buckets with a checksum each. The bytes are
/// in shared memory on the hub's host (`shared_memory`, an shm_open name) and to be had from the hub by ChunkRequest.
struct WeightManifest {
  std::uint64_t version = 0;
  std::string dtype;  // "fp32" | "bf16", of every tensor
  std::uint64_t total_bytes = 0;
  std::uint64_t bucket_bytes = 0;
  std::vector<std::uint64_t> bucket_checksums;  // word checksums (common/base/word_checksum.h)
  std::vector<TensorEntry> tensors;
  std::string shared_memory;
  bool operator==(const WeightManifest&) const = default;
  void validate() const;
};

/// Actor to hub: send me the manifest of this version (0 with `newest`: of the newest).
struct ManifestRequest {
  std::uint64_t version = 0;
  bool newest = true;
  bool operator==(const ManifestRequest&) const = default;
  void validate() const;
};

/// Actor to hub: send me this bucket. One outstanding at a time is the stream's flow control.
struct ChunkRequest {
  std::uint64_t version = 0;
  std::uint64_t bucket = 0;
  bool operator==(const ChunkRequest&) const = default;
  void validate() const;
};

struct WeightChunk {
  std::uint64_t version = 0;
  std::uint64_t bucket = 0;
  bool gone = false;  // the version is no longer held: ask for the newest manifest
  std::string bytes;
  bool operator==(const WeightChunk&) const = default;
  void validate() const;
};

/// Actor to hub: it can take weights over NCCL, on the GPU of this name (empty: no longer). Said again where a group failed.
struct WeightMember {
  std::string gpu;
  bool operator==(const WeightMember&) const = default;
  void validate() const;
};

/// Hub to actor: a group of processes to whose GPUs rank 0 sends weights. It takes the place of the group before.
struct WeightGroup {
  std::uint64_t group = 0;
  std::string id;  // NCCL's, of 128 bytes
  std::uint32_t rank = 0;
  std::uint32_t size = 0;
  bool operator==(const WeightGroup&) const = default;
  void validate() const;
};

/// Hub to the actors of a group, before the manifest: this version is now sent in it.
struct WeightBroadcast {
  std::uint64_t group = 0;
  std::uint64_t version = 0;
  bool operator==(const WeightBroadcast&) const = default;
  void validate() const;
};

}  // namespace troupe
