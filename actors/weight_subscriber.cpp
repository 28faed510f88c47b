#include "actors/weight_subscriber.h"

#include <chrono>
#include <utility>

#include "common/base/error.h"
#include "common/messages/frame.h"

namespace troupe {
namespace {

constexpr int kTries = 3;

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

std::string version_name(std::uint64_t version) { return "weights version " + std::to_string(version); }

}  // namespace

WeightPath weight_path_named(std::string_view name) {
  if (name == "auto") return WeightPath::kAuto;
  if (name == "shm") return WeightPath::kSharedMemory;
  if (name == "nccl") return WeightPath::kNccl;
  if (name == "stream") return WeightPath::kStream;
  throw ConfigError("actors.weights = " + std::string(name) + ": expected auto, shm, nccl or stream");
}

WeightSubscriber::WeightSubscriber(SubscriberOptions options, const Clock& clock, Logger logger)
    : options_(std::move(options)), clock_(clock), logger_(std::move(logger)), landing_(options_.architecture, options_.device) {
  const bool asked = options_.path == WeightPath::kNccl;
  if (asked && options_.gpu.empty()) {
    throw ConfigError("actors.weights = nccl: expected an actor on one GPU (actors.device), this one gets its weights in the memory of the CPU");
  }
  if (options_.gpu.empty() || !(asked || (options_.path == WeightPath::kAuto && options_.hub_on_this_host))) return;
  membership_due_ = true;
  receiver_.emplace(
      [join = options_.join](const WeightGroup& group) {
        return join({group.id, static_cast<int>(group.rank), static_cast<int>(group.size)});
      },
      [this] { return landing_.room("bf16"); });
}

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
  if (broadcast_ && broadcast_->version == manifest.version) {
    broadcast_->manifest = manifest;
  } else {
    next_ = manifest;
  }
}

void WeightSubscriber::check_layout(const WeightManifest& manifest) const {
  const ParameterLayout& layout = landing_.layout();
  const std::string where = version_name(manifest.version) + " of the run: ";
  const std::uint64_t element_bytes = manifest.dtype == "bf16" ? 2 : 4;
  if (manifest.tensors.size() != layout.tensors.size()) {
    throw ConfigError(where + "expected the " + std::to_string(layout.tensors.size()) +
                      " tensors of this actor's model, found " + std::to_string(manifest.tensors.size()) +
                      ": give the actor the run's model");
  }
  for (std::size_t i = 0; i < layout.tensors.size(); ++i) {
    const ParameterSpec& own = layout.tensors[i];
    const TensorEntry& published = manifest.tensors[i];
    const bool same = own.name == published.name && own.shape == published.shape &&
                      static_cast<std::uint64_t>(own.offset) * element_bytes == published.offset_bytes;
    if (!same) {
      throw ConfigError(where + "expected tensor " + own.name + " " + shape_text(own.shape) +
                        " of this actor's model, found " + published.name + " " + shape_text(published.shape) +
                        ": give the actor the run's model");
    }
  }
  if (manifest.total_bytes != static_cast<std::uint64_t>(layout.total) * element_bytes) {
    throw ConfigError(where + "expected " + std::to_string(static_cast<std::uint64_t>(layout.total) * element_bytes) +
                      " bytes, found " + std::to_string(manifest.total_bytes));
  }
}

void WeightSubscriber::restart(bool forget) {
  asked_at_ms_.reset();
  need_manifest_ = true;
  membership_due_ = receiver_.has_value();
  if (!forget) return;
  fetch_.reset();
  next_.reset();
  broadcast_.reset();
  held_.reset();
  landing_.forget();
}

void WeightSubscriber::ask_for_newest() {
  fetch_.reset();
  need_manifest_ = true;
}

/// Whether a copy is under way.
bool WeightSubscriber::copying() const {
  const auto ready = [](const auto& job) { return job.wait_for(std::chrono::seconds(0)) == std::future_status::ready; };
  return fetch_ && fetch_->job.valid() && !ready(fetch_->job);
}

ArrivedWeights WeightSubscriber::arrived(Parameters parameters, std::uint64_t version, const char* path) {
  held_ = version;
  missing_ = 0;
  if (next_ && next_->version <= version) next_.reset();
  return {std::move(parameters), version, path};
}

std::optional<ArrivedWeights> WeightSubscriber::take() {
  end_broadcasts();
  if (std::optional<ArrivedWeights> weights = take_broadcast()) return weights;
  if (!fetch_ && next_) begin_fetch();
  if (!fetch_ || copying()) return std::nullopt;
  if (fetch_->job.valid()) end_job();
  if (!fetch_ || fetch_->bucket < fetch_->manifest.bucket_checksums.size()) return std::nullopt;

  Fetch fetch = std::move(*fetch_);
  fetch_.reset();
  if (held_ && fetch.manifest.version <= *held_) return std::nullopt;  // a broadcast was faster
  return arrived(std::move(*fetch.parameters), fetch.manifest.version, fetch.stream ? "stream" : "shm");
}

// --- Shared memory and the stream ---

void WeightSubscriber::begin_fetch() {
  fetch_.emplace(Fetch{*next_});
  next_.reset();
  const bool wanted = options_.path == WeightPath::kSharedMemory || (options_.path != WeightPath::kStream && options_.hub_on_this_host);
  if (!wanted) return void(fetch_->stream = true);
  if (fetch_->manifest.shared_memory.empty()) return shared_memory_is_shut("the run does not offer it");
  begin_job([this](const WeightManifest& manifest, const Parameters& parameters) { return landing_.copy_shared_memory(manifest, parameters); });
}

/// Copies in a thread of its own, where the first copy also makes the room.
void WeightSubscriber::begin_job(std::function<std::string(const WeightManifest&, const Parameters&)> copy) {
  fetch_->job = std::async(std::launch::async, [this, copy = std::move(copy), manifest = fetch_->manifest, room = fetch_->parameters] {
    const Parameters parameters = room ? *room : landing_.room(manifest.dtype);
    return Copied{parameters, copy(manifest, parameters)};
  });
}

/// Takes note of what was copied.
void WeightSubscriber::end_job() {
  Copied copied = fetch_->job.get();
  fetch_->parameters = std::move(copied.parameters);
  const std::string& problem = copied.problem;
  const WeightManifest& manifest = fetch_->manifest;
  if (problem.empty()) {
    fetch_->bucket = fetch_->stream ? fetch_->bucket + 1 : manifest.bucket_checksums.size();
    fetch_->failures = 0;
    return;
  }
  ++refused_;
  if (!fetch_->stream) return shared_memory_is_shut(problem);
  logger_.warning(bucket_name(manifest, fetch_->bucket) + " from the hub refused: " + problem);
  if (++fetch_->failures < kTries) return;
  throw TransportError(bucket_name(manifest, fetch_->bucket) + " was wrong " + std::to_string(kTries) +
                       " times in a row: the path from the hub corrupts data");
}

/// The version comes by the stream, unless that must not be.
void WeightSubscriber::shared_memory_is_shut(const std::string& problem) {
  const bool only = options_.path == WeightPath::kSharedMemory;
  const std::string message = (only ? "actors.weights = shm: shared memory \"" : "shared memory \"") + fetch_->manifest.shared_memory +
                              "\" of " + version_name(fetch_->manifest.version) + ": " + problem;
  if (only && ++missing_ >= kTries) throw TransportError(message);
  logger_.warning(message + (only ? "; asking for the newest version" : "; it comes by the stream"));
  fetch_->stream = true;
  if (!only) return;
  ask_for_newest();
  asked_at_ms_ = clock_.now_ms();  // not at once: the hub may need a moment for the next version
}

void WeightSubscriber::receive(const WeightChunk& chunk) {
  if (!fetch_ || !fetch_->stream || fetch_->job.valid() || chunk.version != fetch_->manifest.version) return;
  if (chunk.gone) {
    asked_at_ms_.reset();
    ask_for_newest();
    return;
  }
  if (chunk.bucket != fetch_->bucket) return;
  asked_at_ms_.reset();
  begin_job([this, chunk](const WeightManifest& manifest, const Parameters& parameters) {
    return landing_.put(manifest, chunk.bucket, chunk.bytes, parameters);
  });
}

bool WeightSubscriber::request_is_due() {
  const std::int64_t now_ms = clock_.now_ms();
  if (asked_at_ms_ && now_ms - *asked_at_ms_ < static_cast<std::int64_t>(options_.retry_s * 1000)) return false;
  asked_at_ms_ = now_ms;
  return true;
}

std::optional<std::string> WeightSubscriber::due_frame() {
  if (std::exchange(membership_due_, false)) return encode(WeightMember{failed_broadcasts_ < kTries ? options_.gpu : ""});
  const bool wants_bucket = fetch_ && fetch_->stream && !fetch_->job.valid() && fetch_->bucket < fetch_->manifest.bucket_checksums.size();
  if (!wants_bucket && !need_manifest_) return std::nullopt;
  if (!request_is_due()) return std::nullopt;
  if (wants_bucket) return encode(ChunkRequest{fetch_->manifest.version, fetch_->bucket});
  return encode(ManifestRequest{0, true});
}

std::string WeightSubscriber::waiting_for() const {
  if (fetch_) return bucket_name(fetch_->manifest, fetch_->bucket);
  if (broadcast_) return version_name(broadcast_->version) + " over NCCL";
  return held_ ? "" : "the first weights";
}

// --- NCCL ---

void WeightSubscriber::join(const WeightGroup& group) {
  if (receiver_) receiver_->join(group);
}

void WeightSubscriber::expect(const WeightBroadcast& broadcast) {
  if (!receiver_) return;
  receiver_->expect(broadcast);
  broadcast_ = Broadcast{broadcast.version};  // who was not seen yet is overtaken
}

/// Takes note of what was received.
void WeightSubscriber::end_broadcasts() {
  while (std::optional<BroadcastReceiver::Outcome> outcome = receiver_ ? receiver_->poll() : std::nullopt) {
    const bool of_group = !outcome->version;
    if (!of_group && (!broadcast_ || *outcome->version != broadcast_->version)) continue;  // overtaken
    if (outcome->parameters) {
      broadcast_->parameters = std::move(outcome->parameters);
    } else {
      broadcast_failed((of_group ? "a group for weights" : version_name(*outcome->version)) + ": " + outcome->problem);
    }
  }
}

/// Another group is asked for, a few times; the version comes otherwise.
void WeightSubscriber::broadcast_failed(const std::string& problem) {
  const bool again = ++failed_broadcasts_ < kTries;
  logger_.warning("over NCCL, " + problem + (again ? "; it comes otherwise" : "; weights come otherwise from now on"));
  membership_due_ = true;
  if (broadcast_ && broadcast_->manifest && !next_) next_ = std::move(broadcast_->manifest);
  broadcast_.reset();
  need_manifest_ = true;  // the newest may not have been offered yet
}

std::optional<ArrivedWeights> WeightSubscriber::take_broadcast() {
  if (!broadcast_ || !broadcast_->parameters || !broadcast_->manifest) return std::nullopt;
  Broadcast broadcast = std::move(*broadcast_);
  broadcast_.reset();
  const std::string problem = landing_.verify(*broadcast.manifest, *broadcast.parameters);
  if (!problem.empty()) {
    ++refused_;
    next_ = std::move(broadcast.manifest);
    broadcast_failed(problem);
    return std::nullopt;
  }
  failed_broadcasts_ = 0;
  return arrived(std::move(*broadcast.parameters), broadcast.version, "nccl");
}

}  // namespace troupe
