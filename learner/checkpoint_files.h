#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/checksum.h"
#include "common/base/files.h"
#include "common/model/parameters.h"

namespace troupe {

// The files of one checkpoint folder, and the manifest that vouches for them. No collectives here.

inline constexpr std::size_t kChecksumChunkBytes = std::size_t{1} << 20;

/// A file's size and the XXH3-128 of each MiB of it, so that damage has an address.
struct FileDigest {
  std::string name;  // relative to the checkpoint folder, '/' between parts
  std::uint64_t bytes = 0;
  std::vector<std::string> chunks;
  bool operator==(const FileDigest&) const = default;
};

/// Writes a new file and sums it up on the way. One thread at a time.
class DigestingWriter {
 public:
  /// @throws TransportError where `folder`/`name` exists or cannot be made.
  DigestingWriter(const std::filesystem::path& folder, const std::string& name);
  void write(std::span<const std::byte> bytes);
  /// fsync; the digest of all that was written.
  FileDigest finish();

 private:
  std::string path_;
  FileDescriptor fd_;
  FileDigest digest_;
  Hasher chunk_;
  std::size_t chunk_bytes_ = 0;
};

/// Sums up an existing file and makes it durable (fsync).
FileDigest digest_and_sync(const std::filesystem::path& folder, const std::string& name);

/// Nothing where the file is as `digest` says; else what is wrong, with the file, the offset of the first wrong chunk,
/// and the expected and found checksums.
std::optional<std::string> find_damage(const std::filesystem::path& folder, const FileDigest& digest);

/// MANIFEST.json.
struct CheckpointManifest {
  std::int64_t step = 0;
  std::int64_t updates = 0;  // Adam's t
  std::string config_hash;
  std::uint64_t ledger_bytes = 0;  // size of ledger.log when the checkpoint was taken
  std::int64_t world_size = 1;
  std::int64_t slice = 0;  // elements of each of a shard's vectors
  std::vector<std::int64_t> units;  // bounds of the units of which a shard has its parts (shard_map.h); empty: one, in format 1
  std::int64_t together = 1;  // ranks that held a model together, whose units are their parts'; above 1 in format 3 alone
  std::vector<ParameterSpec> tensors;
  std::vector<FileDigest> files;
  bool operator==(const CheckpointManifest&) const = default;
};

std::string print_manifest(const CheckpointManifest& manifest);
/// @throws ConfigError starting with `where` and naming the key.
CheckpointManifest parse_manifest(const std::string& text, const std::string& where);

/// "shard-0-of-2.bin"
std::string shard_name(std::int64_t rank, std::int64_t world_size);

}  // namespace troupe
