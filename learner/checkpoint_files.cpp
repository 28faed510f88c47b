#include "learner/checkpoint_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/base/error.h"
#include "common/base/strict_json.h"

namespace troupe {
namespace {

constexpr std::int64_t kFormat = 3;        // of ranks that hold a model together each has units of its part
constexpr std::int64_t kWholeUnits = 2;    // units are the whole model's; written where each rank has it by itself
constexpr std::int64_t kOldestFormat = 1;  // shards were cut of the vector as one unit

std::vector<std::string> chunk_sums(std::span<const std::byte> bytes) {
  std::vector<std::string> sums;
  for (std::size_t start = 0; start < bytes.size(); start += kChecksumChunkBytes) {
    sums.push_back(xxh3_128_hex(bytes.subspan(start, std::min(kChecksumChunkBytes, bytes.size() - start))));
  }
  return sums;
}

std::int64_t count_of(const nlohmann::json& object, const char* key, const std::string& where, std::int64_t lowest) {
  const auto value = json_get<std::int64_t>(object, key, where);
  if (value >= lowest) return value;
  throw ConfigError(where + ": \"" + key + "\": expected at least " + std::to_string(lowest) + ", found " +
                    std::to_string(value));
}

const nlohmann::json& array_of(const nlohmann::json& object, const char* key, const std::string& where) {
  const nlohmann::json& value = json_member(object, key, where);
  if (!value.is_array()) throw ConfigError(where + ": \"" + key + "\": expected an array");
  return value;
}

std::vector<std::int64_t> parse_units(const nlohmann::json& object, const std::string& where) {
  std::vector<std::int64_t> units;
  for (const auto& bound : array_of(object, "units", where)) units.push_back(json_as<std::int64_t>(bound, "units", where));
  if (units.size() < 2 || units.front() != 0 || !std::is_sorted(units.begin(), units.end())) {
    throw ConfigError(where + ": \"units\": expected at least two bounds, ascending from 0");
  }
  return units;
}

FileDigest parse_digest(const nlohmann::json& object, const std::string& where) {
  FileDigest digest;
  digest.name = json_get<std::string>(object, "name", where);
  const std::filesystem::path path(digest.name);
  if (path.empty() || path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end()) {
    throw ConfigError(where + ": file name \"" + digest.name + "\" leads out of the checkpoint");
  }
  digest.bytes = static_cast<std::uint64_t>(count_of(object, "bytes", where, 0));
  for (const auto& chunk : array_of(object, "xxh3_128", where)) {
    digest.chunks.push_back(json_as<std::string>(chunk, "xxh3_128", where));
  }
  const std::uint64_t expected = (digest.bytes + kChecksumChunkBytes - 1) / kChecksumChunkBytes;
  if (digest.chunks.size() != expected) {
    throw ConfigError(where + ": " + digest.name + ": expected " + std::to_string(expected) + " checksums, found " +
                      std::to_string(digest.chunks.size()));
  }
  return digest;
}

ParameterSpec parse_tensor(const nlohmann::json& object, const std::string& where) {
  ParameterSpec spec;
  spec.name = json_get<std::string>(object, "name", where);
  spec.offset = count_of(object, "offset", where, 0);
  spec.numel = 1;
  for (const auto& size : array_of(object, "shape", where)) {
    spec.shape.push_back(json_as<std::int64_t>(size, "shape", where));
    if (spec.shape.back() < 1 || __builtin_mul_overflow(spec.numel, spec.shape.back(), &spec.numel)) {
      throw ConfigError(where + ": tensor " + spec.name + ": impossible shape");
    }
  }
  return spec;
}

}  // namespace

DigestingWriter::DigestingWriter(const std::filesystem::path& folder, const std::string& name)
    : path_((folder / name).string()), fd_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) {
  if (!fd_) throw TransportError("cannot create " + path_ + ": " + std::strerror(errno));
  digest_.name = name;
}

void DigestingWriter::write(std::span<const std::byte> bytes) {
  write_all(fd_.get(), bytes, path_);
  digest_.bytes += bytes.size();
  while (!bytes.empty()) {
    const std::size_t taken = std::min(bytes.size(), kChecksumChunkBytes - chunk_bytes_);
    chunk_.update(bytes.first(taken));
    chunk_bytes_ += taken;
    bytes = bytes.subspan(taken);
    if (chunk_bytes_ < kChecksumChunkBytes) break;
    digest_.chunks.push_back(std::exchange(chunk_, Hasher()).hex());
    chunk_bytes_ = 0;
  }
}

FileDigest DigestingWriter::finish() {
  if (chunk_bytes_ > 0) digest_.chunks.push_back(chunk_.hex());
  sync_file(fd_.get(), path_);
  return digest_;
}

FileDigest digest_and_sync(const std::filesystem::path& folder, const std::string& name) {
  const std::filesystem::path path = folder / name;
  const MappedFile file(path);
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw TransportError("cannot open " + path.string() + ": " + std::strerror(errno));
  sync_file(fd.get(), path.string());
  return {name, file.bytes().size(), chunk_sums(file.bytes())};
}

std::optional<std::string> find_damage(const std::filesystem::path& folder, const FileDigest& digest) {
  const std::string path = (folder / digest.name).string();
  try {
    const MappedFile file(path);
    if (file.bytes().size() != digest.bytes) {
      return path + ": expected " + std::to_string(digest.bytes) + " bytes, found " +
             std::to_string(file.bytes().size());
    }
    const std::vector<std::string> found = chunk_sums(file.bytes());
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (found[i] == digest.chunks[i]) continue;
      return path + " at offset " + std::to_string(i * kChecksumChunkBytes) + ": expected checksum " +
             digest.chunks[i] + ", found " + found[i];
    }
    return std::nullopt;
  } catch (const ConfigError& error) {
    return error.what();
  }
}

std::string print_manifest(const CheckpointManifest& manifest) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const ParameterSpec& spec : manifest.tensors) {
    tensors.push_back({{"name", spec.name}, {"shape", spec.shape}, {"offset", spec.offset}});
  }
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  for (const FileDigest& file : manifest.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"xxh3_128", file.chunks}});
  }
  nlohmann::ordered_json json = {{"format", manifest.together == 1 ? kWholeUnits : kFormat},
                                       {"step", manifest.step},
                                       {"updates", manifest.updates},
                                       {"config_hash", manifest.config_hash},
                                       {"ledger_bytes", manifest.ledger_bytes},
                                       {"world_size", manifest.world_size},
                                       {"slice", manifest.slice},
                                       {"units", manifest.units},
                                       {"tensors", tensors},
                                       {"files", files}};
  if (manifest.together > 1) json["together"] = manifest.together;
  return json.dump(1) + "\n";
}

CheckpointManifest parse_manifest(const std::string& text, const std::string& where) {
  const nlohmann::json json = parse_json(text, where);
  const auto format = json_get<std::int64_t>(json, "format", where);
  if (format < kOldestFormat || format > kFormat) {
    throw ConfigError(where + ": checkpoint format " + std::to_string(format) + "; this program reads " +
                      std::to_string(kOldestFormat) + " to " + std::to_string(kFormat));
  }
  CheckpointManifest manifest;
  manifest.step = count_of(json, "step", where, 0);
  manifest.updates = count_of(json, "updates", where, 0);
  manifest.config_hash = json_get<std::string>(json, "config_hash", where);
  manifest.ledger_bytes = static_cast<std::uint64_t>(count_of(json, "ledger_bytes", where, 0));
  manifest.world_size = count_of(json, "world_size", where, 1);
  manifest.slice = count_of(json, "slice", where, 1);
  if (format >= kWholeUnits) manifest.units = parse_units(json, where);
  if (format >= kFormat) manifest.together = count_of(json, "together", where, 2);
  for (const auto& tensor : array_of(json, "tensors", where)) manifest.tensors.push_back(parse_tensor(tensor, where));
  for (const auto& file : array_of(json, "files", where)) manifest.files.push_back(parse_digest(file, where));
  return manifest;
}

std::string shard_name(std::int64_t rank, std::int64_t world_size) {
  return "shard-" + std::to_string(rank) + "-of-" + std::to_string(world_size) + ".bin";
}

}  // namespace troupe
