#include "learner/checkpoint.h"

#include <ATen/Functions.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "common/base/error.h"
#include "common/base/fault.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMessageBytes = 512;  // of a rank's error, for the others
constexpr double kFreeSpaceFactor = 1.2;

/// In front of the three vectors of a shard. Integrity is the manifest's matter; this says what the bytes are.
struct ShardHeader {
  std::array<char, 8> magic = {'T', 'R', 'O', 'U', 'P', 'E', 'S', '1'};
  std::int64_t step = 0;
  std::int64_t rank = 0;
  std::int64_t world_size = 0;
  std::int64_t slice = 0;
  std::int64_t reserved[3] = {};
  bool operator==(const ShardHeader&) const = default;
};

/// Does `work` on this rank, and returns where every rank's went well. @throws this rank's own error, or TransportError
/// naming the first rank that failed: a failure is everybody's, so that no rank goes on alone. Collective.
template <class Work>
void all_or_none(Communicator& ranks, const std::string& what, Work work) {
  std::exception_ptr own_error;
  std::string message;
  try {
    work();
  } catch (const std::exception& error) {
    own_error = std::current_exception();
    message = error.what();
    if (dynamic_cast<const Error*>(&error) == nullptr)
      own_error = std::make_exception_ptr(TransportError(what + ": " + message));
    if (message.empty()) message = "unknown error";
  }
  const auto size = static_cast<std::size_t>(ranks.size());
  std::vector<char> messages(kMessageBytes * size, '\0');
  const std::span<char> own =
      std::span(messages).subspan(kMessageBytes * static_cast<std::size_t>(ranks.rank()), kMessageBytes);
  message.copy(own.data(), kMessageBytes - 1);
  ranks.all_gather(std::as_bytes(own), std::as_writable_bytes(std::span(messages)), what);
  if (own_error) std::rethrow_exception(own_error);
  for (std::size_t r = 0; r < size; ++r) {
    const char* const theirs = messages.data() + r * kMessageBytes;
    if (*theirs != '\0') throw TransportError(what + ": learner rank " + std::to_string(r) + ": " + theirs);
  }
}

/// On the CPU.
std::array<at::Tensor, 3> vectors_of(const ShardedOptimizer& optimizer) {
  return {optimizer.master().cpu(), optimizer.exp_avg().cpu(), optimizer.exp_avg_sq().cpu()};
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

/// @throws Error naming the tensor where this rank's state is not finite: it must not replace a good checkpoint.
void require_finite(const ShardedOptimizer& optimizer) {
  constexpr std::array<const char*, 3> kNames = {"parameter", "first moment", "second moment"};
  const std::array<at::Tensor, 3> vectors = vectors_of(optimizer);
  for (std::size_t k = 0; k < vectors.size(); ++k) {
    const std::span<const float> values(vectors[k].const_data_ptr<float>(), static_cast<std::size_t>(optimizer.slice()));
    const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
    if (bad == values.end()) continue;
    const std::int64_t element = optimizer.map().element(optimizer.communicator().rank(), bad - values.begin());
    const auto& tensors = optimizer.layout().tensors;
    const auto spec = std::find_if(tensors.begin(), tensors.end(),
                                   [&](const ParameterSpec& tensor) { return element < tensor.offset + tensor.numel; });
    throw Error(std::string("no checkpoint is written: the ") + kNames[k] + " of " + (spec == tensors.end() ? "?" : spec->name) +
                " has " + std::to_string(*bad) + " at element " + std::to_string(element) + " of all");
  }
}

FileDigest write_shard(const fs::path& folder, std::int64_t step, const ShardedOptimizer& optimizer) {
  const Communicator& ranks = optimizer.communicator();
  ShardHeader header;
  header.step = step;
  header.rank = ranks.rank();
  header.world_size = ranks.size();
  header.slice = optimizer.slice();
  DigestingWriter writer(folder, shard_name(ranks.rank(), ranks.size()));
  writer.write(std::as_bytes(std::span(&header, 1)));
  for (const at::Tensor& vector : vectors_of(optimizer)) writer.write(bytes_of(vector));
  return writer.finish();
}

/// Every rank's digest, by rank. The shards are equally long, so their digests are too.
std::vector<FileDigest> gather_digests(const FileDigest& own, Communicator& ranks) {
  std::string text;
  for (const std::string& chunk : own.chunks) text += chunk;
  std::string all(text.size() * static_cast<std::size_t>(ranks.size()), '\0');
  ranks.all_gather(std::as_bytes(std::span(text)), std::as_writable_bytes(std::span(all)), "checkpoint checksums");
  std::vector<FileDigest> digests;
  for (int r = 0; r < ranks.size(); ++r) {
    digests.push_back({shard_name(r, ranks.size()), own.bytes, {}});
    for (std::size_t i = 0; i < own.chunks.size(); ++i) {
      const std::size_t width = own.chunks[i].size();
      digests.back().chunks.push_back(all.substr(static_cast<std::size_t>(r) * text.size() + i * width, width));
    }
  }
  return digests;
}

/// Digests of all files below `folder` but for the shards; their folders are made durable on the way.
std::vector<FileDigest> digest_others(const fs::path& folder, const std::vector<FileDigest>& shards) {
  std::vector<FileDigest> digests;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = fs::relative(entry.path(), folder).generic_string();
    if (entry.is_directory()) {
      sync_folder(entry.path());
    } else if (std::none_of(shards.begin(), shards.end(),
                            [&](const FileDigest& shard) { return shard.name == name; })) {
      digests.push_back(digest_and_sync(folder, name));
    }
  }
  std::sort(digests.begin(), digests.end(), [](const FileDigest& a, const FileDigest& b) { return a.name < b.name; });
  return digests;
}

void require_space(const fs::path& root, const ShardedOptimizer& optimizer) {
  const std::int64_t elements = optimizer.slice() * optimizer.communicator().size();
  // Three vectors in fp32, and one more for the export.
  const double needed = kFreeSpaceFactor * 4.0 * static_cast<double>(sizeof(float)) * static_cast<double>(elements);
  const auto available = static_cast<double>(fs::space(root).available);
  if (available < needed) {
    throw TransportError("no room for a checkpoint in " + root.string() + ": it takes about " +
                         std::to_string(static_cast<std::int64_t>(needed / 1e6)) + " MB, there are " +
                         std::to_string(static_cast<std::int64_t>(available / 1e6)));
  }
}

/// Rank 0's end of a save: everything in `temporary` is vouched for, durable, and becomes `final`.
void complete(const fs::path& temporary, const fs::path& final, CheckpointManifest manifest) {
  const std::vector<FileDigest> others = digest_others(temporary, manifest.files);
  manifest.files.insert(manifest.files.end(), others.begin(), others.end());
  const std::string text = print_manifest(manifest);
  write_file_atomically(temporary / "MANIFEST.json", text);
  sync_folder(temporary);
  const fs::path replaced = temporary.string() + "-replaced";
  fs::remove_all(replaced);
  fault::point("checkpoint.rename");
  if (fs::exists(final)) fs::rename(final, replaced);
  fault::point("file.rename");
  fs::rename(temporary, final);
  fault::point("checkpoint.done");
  sync_folder(final.parent_path());
  write_file_atomically(final / "DONE", xxh3_128_hex(text) + "\n");
  fault::point("file.unlink");
  fs::remove_all(replaced);
}

void require_same_model(const CheckpointManifest& manifest, const ShardedOptimizer& optimizer,
                        const std::string& where) {
  const auto& ours = optimizer.layout().tensors;
  const auto& theirs = manifest.tensors;
  for (std::size_t i = 0; i < std::max(ours.size(), theirs.size()); ++i) {
    if (i < ours.size() && i < theirs.size() && ours[i] == theirs[i]) continue;
    const auto text = [&](const std::vector<ParameterSpec>& tensors) {
      if (i >= tensors.size()) return std::string("nothing");
      std::string shape;
      for (const std::int64_t size : tensors[i].shape) shape += (shape.empty() ? "" : ", ") + std::to_string(size);
      return tensors[i].name + " [" + shape + "] at " + std::to_string(tensors[i].offset);
    };
    throw ConfigError(where + " is of another model: tensor " + std::to_string(i) + ": expected " + text(ours) +
                      ", found " + text(theirs));
  }
}

void read_at(int fd, std::span<std::byte> bytes, std::size_t offset, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      throw ConfigError(path + " at offset " + std::to_string(offset) + ": " +
                        (got < 0 ? std::strerror(errno) : "it ends here"));
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::size_t>(got);
  }
}

/// Copies what shard `number` has of this rank's `pieces` into `vectors`, its slices.
void read_shard(const fs::path& folder, const CheckpointManifest& manifest, const ShardMap& theirs, int number,
                const std::vector<ShardMap::Piece>& pieces, const std::array<at::Tensor, 3>& vectors) {
  const std::string path = (folder / shard_name(number, manifest.world_size)).string();
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw ConfigError("cannot open " + path + ": " + std::strerror(errno));
  ShardHeader found;
  read_at(fd.get(), std::as_writable_bytes(std::span(&found, 1)), 0, path);
  ShardHeader expected;
  expected.step = manifest.step;
  expected.rank = number;
  expected.world_size = manifest.world_size;
  expected.slice = manifest.slice;
  if (found != expected) throw ConfigError(path + ": its header is not that of this step's shard");
  const std::vector<ShardMap::Piece> found_pieces = theirs.pieces(number);
  for (const ShardMap::Piece& piece : pieces) {
    const auto ends_before = [&](const ShardMap::Piece& other) { return other.end <= piece.begin; };
    for (auto other = std::partition_point(found_pieces.begin(), found_pieces.end(), ends_before);
         other != found_pieces.end() && other->begin < piece.end; ++other) {
      const ShardMap::Piece& found_piece = *other;
      const std::int64_t begin = std::max(piece.begin, found_piece.begin), end = std::min(piece.end, found_piece.end);
      for (std::size_t k = 0; k < vectors.size(); ++k) {
        const std::span<float> out(vectors[k].mutable_data_ptr<float>() + piece.place + (begin - piece.begin),
                                   static_cast<std::size_t>(end - begin));
        const std::int64_t place = static_cast<std::int64_t>(k) * manifest.slice + found_piece.place + (begin - found_piece.begin);
        read_at(fd.get(), std::as_writable_bytes(out), sizeof(ShardHeader) + sizeof(float) * static_cast<std::size_t>(place), path);
      }
    }
  }
}

/// How the shards were cut. @throws ConfigError where nothing can have been cut so.
ShardMap map_of(const CheckpointManifest& manifest, const ShardedOptimizer& optimizer) {
  const auto ranks = static_cast<int>(manifest.world_size), together = static_cast<int>(manifest.together);
  if (together == 1) return {manifest.units.empty() ? std::vector<std::int64_t>{0, optimizer.total()} : manifest.units, ranks};
  if (ranks % together != 0) {
    throw ConfigError("MANIFEST.json: \"together\": expected a divisor of \"world_size\", " + std::to_string(ranks) + ", found " +
                      std::to_string(together));
  }
  return {optimizer.parameters().whole_architecture(), ranks, together};
}

/// Puts a checkpoint that verified into `optimizer`. Collective.
void read_checkpoint(const fs::path& folder, const std::string& config_hash, ShardedOptimizer& optimizer) {
  Communicator& ranks = optimizer.communicator();
  std::array<at::Tensor, 3> vectors;
  CheckpointManifest manifest;
  all_or_none(ranks, "loading " + folder.string(), [&] {
    manifest = read_manifest(folder);
    if (manifest.config_hash != config_hash) {
      throw ConfigError(folder.string() + " was written under another configuration (hash " + manifest.config_hash +
                        ", now " + config_hash + ")");
    }
    require_same_model(manifest, optimizer, folder.string());
    const ShardMap theirs = map_of(manifest, optimizer);
    if (theirs.slice() != manifest.slice || theirs.total() != optimizer.total()) {
      throw ConfigError(folder.string() + "/MANIFEST.json: expected slices of " + std::to_string(theirs.slice()) + " elements of " +
                        std::to_string(optimizer.total()) + ", found " + std::to_string(manifest.slice) + " of " +
                        std::to_string(theirs.total()));
    }
    for (at::Tensor& vector : vectors) vector = at::zeros({optimizer.slice()}, at::kFloat);  // the padding is zero
    const std::vector<ShardMap::Piece> pieces = optimizer.map().pieces(ranks.rank());
    for (int number = 0; number < theirs.ranks(); ++number) read_shard(folder, manifest, theirs, number, pieces, vectors);
  });
  optimizer.restore(vectors[0], vectors[1], vectors[2], manifest.updates);
}

}  // namespace

void save_checkpoint(const fs::path& root, const CheckpointInfo& info, const ShardedOptimizer& optimizer,
                     const std::function<void(const fs::path& folder)>& export_more) {
  Communicator& ranks = optimizer.communicator();
  const bool leader = ranks.rank() == 0;
  const std::string what = "checkpoint of step " + std::to_string(info.step);
  std::array<std::int64_t, 1> pid = {::getpid()};
  ranks.broadcast(std::as_writable_bytes(std::span(pid)), 0, what);
  const fs::path temporary = root / (".tmp-step-" + std::to_string(info.step) + "-" + std::to_string(pid[0]));
  fault::point("checkpoint.begin");
  try {
    all_or_none(ranks, what, [&] {
      require_finite(optimizer);
      if (!leader) return;
      fs::create_directories(root);
      fs::remove_all(temporary);
      require_space(root, optimizer);
      fs::create_directory(temporary);
    });
    FileDigest shard;
    all_or_none(ranks, what, [&] { shard = write_shard(temporary, info.step, optimizer); });
    fault::point("checkpoint.shard");
    CheckpointManifest manifest;
    manifest.files = gather_digests(shard, ranks);
    all_or_none(ranks, what, [&] {
      if (!leader) return;
      manifest.step = info.step;
      manifest.updates = optimizer.updates();
      manifest.config_hash = info.config_hash;
      manifest.ledger_bytes = info.ledger_bytes;
      manifest.world_size = ranks.size();
      manifest.slice = optimizer.slice();
      manifest.units = optimizer.map().bounds();
      manifest.together = optimizer.map().together();
      manifest.tensors = optimizer.layout().tensors;
      if (export_more) export_more(temporary);
      fault::point("checkpoint.export");
      complete(temporary, checkpoint_folder(root, info.step), manifest);
    });
    fault::point("checkpoint.end");
  } catch (const Error&) {
    std::error_code ignored;  // the next start clears what cannot be removed now
    if (leader) fs::remove_all(temporary, ignored);
    throw;
  }
}

void load_checkpoint(const fs::path& root, std::int64_t step, const std::string& config_hash,
                     ShardedOptimizer& optimizer) {
  const fs::path folder = checkpoint_folder(root, step);
  all_or_none(optimizer.communicator(), "checking " + folder.string(), [&] {
    if (optimizer.communicator().rank() != 0) return;
    if (const auto damage = find_damage(folder)) throw ConfigError("damaged checkpoint: " + *damage);
  });
  read_checkpoint(folder, config_hash, optimizer);
}

std::optional<std::int64_t> load_newest_checkpoint(const fs::path& root, const std::string& config_hash,
                                                   ShardedOptimizer& optimizer, const Logger& logger) {
  Communicator& ranks = optimizer.communicator();
  std::array<std::int64_t, 1> step = {-1};
  all_or_none(ranks, "looking for a checkpoint in " + root.string(), [&] {
    if (ranks.rank() != 0) return;
    for (const std::string& name : clear_checkpoint_leftovers(root)) {
      logger.info("removed " + name + ", which a killed run left in " + root.string());
    }
    step[0] = newest_whole_checkpoint(root, logger).value_or(-1);
  });
  ranks.broadcast(std::as_writable_bytes(std::span(step)), 0, "step of the newest checkpoint");
  if (step[0] < 0) return std::nullopt;
  read_checkpoint(checkpoint_folder(root, step[0]), config_hash, optimizer);
  return step[0];
}

}  // namespace troupe
