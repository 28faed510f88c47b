#include "actors/weight_subscriber.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "common/base/shared_memory.h"
#include "common/messages/frame.h"

namespace troupe {
namespace {

constexpr int kTries = 3;

at::ScalarType scalar_type_of(const WeightManifest& manifest) {
  return manifest.dtype == "bf16" ? at::kBFloat16 : at::kFloat;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

std::string bucket_name(const WeightManifest& manifest, std::uint64_t bucket) {
  return "bucket " + std::to_string(bucket) + " of " + std::to_string(manifest.bucket_checksums.size()) +
         " of weights version " + std::to_string(manifest.version);
}

std::uint64_t bucket_size(const WeightManifest& manifest, std::uint64_t bucket) {
  return std::min(manifest.bucket_bytes, manifest.total_bytes - bucket * manifest.bucket_bytes);
}

}  // namespace

WeightPath weight_path_named(std::string_view name) {
  if (name == "auto") return WeightPath::kAuto;
  if (name == "shm") return WeightPath::kSharedMemory;
  if (name == "stream") return WeightPath::kStream;
  throw ConfigError("actors.weights = " + std::string(name) + ": expected auto, shm or stream");
}

WeightSubscriber::WeightSubscriber(SubscriberOptions options, const Clock& clock, Logger logger)
    : options_(std::move(options)), clock_(clock), logger_(std::move(logger)), layout_(options_.architecture) {}

bool WeightSubscriber::newer_than_known(std::uint64_t version) const {
  const auto newer = [&](const auto& known) { return !known || version > *known; };
  if (fetch_ && version <= fetch_->manifest.version) return false;
  if (next_ && version <= next_->version) return false;
  return newer(held_);
}

void WeightSubscriber::offer(const WeightManifest& manifest) {
  if (need_manifest_) {
    need_manifest_ = false;
    asked_at_ms_.reset();
  }
  if (!newer_than_known(manifest.version)) return;
  check_layout(manifest);
  next_ = manifest;
}

void WeightSubscriber::check_layout(const WeightManifest& manifest) const {
  const std::string where = "weights version " + std::to_string(manifest.version) + " of the run: ";
  const std::uint64_t element_bytes = manifest.dtype == "bf16" ? 2 : 4;
  if (manifest.tensors.size() != layout_.tensors.size()) {
    throw ConfigError(where + "expected the " + std::to_string(layout_.tensors.size()) +
                      " tensors of this actor's model, found " + std::to_string(manifest.tensors.size()) +
                      ": give the actor the run's model");
  }
  for (std::size_t i = 0; i < layout_.tensors.size(); ++i) {
    const ParameterSpec& own = layout_.tensors[i];
    const TensorEntry& published = manifest.tensors[i];
    const bool same = own.name == published.name && own.shape == published.shape &&
                      static_cast<std::uint64_t>(own.offset) * element_bytes == published.offset_bytes;
    if (!same) {
      throw ConfigError(where + "expected tensor " + own.name + " " + shape_text(own.shape) +
                        " of this actor's model, found " + published.name + " " + shape_text(published.shape) +
                        ": give the actor the run's model");
    }
  }
  if (manifest.total_bytes != static_cast<std::uint64_t>(layout_.total) * element_bytes) {
    throw ConfigError(where + "expected " + std::to_string(static_cast<std::uint64_t>(layout_.total) * element_bytes) +
                      " bytes, found " + std::to_string(manifest.total_bytes));
  }
}

void WeightSubscriber::restart(bool forget) {
  asked_at_ms_.reset();
  need_manifest_ = true;
  if (!forget) return;
  fetch_.reset();
  next_.reset();
  held_.reset();
}

void WeightSubscriber::ask_for_newest() {
  fetch_.reset();
  need_manifest_ = true;
}

void WeightSubscriber::begin(WeightManifest manifest) {
  Parameters parameters(options_.architecture, scalar_type_of(manifest));
  fetch_.emplace(Fetch{std::move(manifest), std::move(parameters)});
}

std::optional<ArrivedWeights> WeightSubscriber::take() {
  if (!fetch_ && next_) {
    begin(std::move(*next_));
    next_.reset();
    if (!load_shared_memory()) return std::nullopt;
  }
  if (!fetch_ || fetch_->bucket < fetch_->manifest.bucket_checksums.size()) return std::nullopt;

  ArrivedWeights arrived{std::move(fetch_->parameters), fetch_->manifest.version};
  held_ = arrived.version;
  missing_ = 0;
  fetch_.reset();
  return arrived;
}

/// Copies a version from shared memory, if that is the way. True where it is complete.
bool WeightSubscriber::load_shared_memory() {
  const WeightManifest& manifest = fetch_->manifest;
  const bool only = options_.path == WeightPath::kSharedMemory;
  const bool allowed = only || (options_.path == WeightPath::kAuto && options_.hub_on_this_host);
  std::string problem = "the run does not offer it";
  if (allowed && !manifest.shared_memory.empty()) {
    problem = "it is not there";
    const std::optional<SharedMemory> memory = SharedMemory::open(manifest.shared_memory);
    if (memory && memory->bytes().size() != manifest.total_bytes) {
      problem = "expected " + std::to_string(manifest.total_bytes) + " bytes, found " +
                std::to_string(memory->bytes().size());
    } else if (memory) {
      const auto* data = reinterpret_cast<const char*>(memory->bytes().data());
      const std::string_view bytes(data, memory->bytes().size());
      bool whole = true;
      while (whole && fetch_->bucket < manifest.bucket_checksums.size()) {
        const std::uint64_t start = fetch_->bucket * manifest.bucket_bytes;
        whole = accept_bucket(bytes.substr(start, bucket_size(manifest, fetch_->bucket)), manifest.shared_memory);
      }
      if (whole) return true;
      problem = bucket_name(manifest, fetch_->bucket) + " fails its checksum";
    }
  }
  if (!only) {
    fetch_->failures = 0;
    fetch_->stream = true;
    return false;
  }
  const std::string message = "actors.weights = shm: shared memory \"" + manifest.shared_memory +
                              "\" of weights version " + std::to_string(manifest.version) + ": " + problem;
  if (++missing_ >= kTries) throw TransportError(message);
  logger_.warning(message + "; asking for the newest version");
  ask_for_newest();
  asked_at_ms_ = clock_.now_ms();  // not at once: the hub may need a moment for the next version
  return false;
}

/// Copies the next bucket into place and checks the copy. False where it is not what was published.
bool WeightSubscriber::accept_bucket(std::string_view bytes, std::string_view source) {
  const WeightManifest& manifest = fetch_->manifest;
  const std::uint64_t expected_bytes = bucket_size(manifest, fetch_->bucket);
  std::string problem;
  if (bytes.size() != expected_bytes) {
    problem = "expected " + std::to_string(expected_bytes) + " bytes, found " + std::to_string(bytes.size());
  } else {
    auto* place =
        static_cast<std::byte*>(fetch_->parameters.flat().mutable_data_ptr()) + fetch_->bucket * manifest.bucket_bytes;
    std::memcpy(place, bytes.data(), bytes.size());
    const std::uint64_t expected = manifest.bucket_checksums[fetch_->bucket];
    const std::uint64_t found = xxh3_64(std::span<const std::byte>(place, bytes.size()));
    if (found != expected)
      problem = "expected checksum " + std::to_string(expected) + ", found " + std::to_string(found);
  }
  if (problem.empty()) {
    ++fetch_->bucket;
    fetch_->failures = 0;
    return true;
  }
  ++refused_buckets_;
  ++fetch_->failures;
  logger_.warning(bucket_name(manifest, fetch_->bucket) + " from " + std::string(source) + " refused: " + problem);
  return false;
}

void WeightSubscriber::receive(const WeightChunk& chunk) {
  if (!fetch_ || !fetch_->stream || chunk.version != fetch_->manifest.version) return;
  if (chunk.gone) {
    asked_at_ms_.reset();
    ask_for_newest();
    return;
  }
  if (chunk.bucket != fetch_->bucket) return;
  asked_at_ms_.reset();
  if (accept_bucket(chunk.bytes, "the hub") || fetch_->failures < kTries) return;
  throw TransportError(bucket_name(fetch_->manifest, fetch_->bucket) + " was wrong " + std::to_string(kTries) +
                       " times in a row: the path from the hub corrupts data");
}

bool WeightSubscriber::request_is_due() {
  const std::int64_t now_ms = clock_.now_ms();
  if (asked_at_ms_ && now_ms - *asked_at_ms_ < static_cast<std::int64_t>(options_.retry_s * 1000)) return false;
  asked_at_ms_ = now_ms;
  return true;
}

std::optional<std::string> WeightSubscriber::due_frame() {
  const bool wants_bucket = fetch_ && fetch_->stream && fetch_->bucket < fetch_->manifest.bucket_checksums.size();
  if (!wants_bucket && !need_manifest_) return std::nullopt;
  if (!request_is_due()) return std::nullopt;
  if (wants_bucket) return encode(ChunkRequest{fetch_->manifest.version, fetch_->bucket});
  return encode(ManifestRequest{0, true});
}

std::string WeightSubscriber::waiting_for() const {
  if (fetch_) return bucket_name(fetch_->manifest, fetch_->bucket);
  return held_ ? "" : "the first weights";
}

}  // namespace troupe
