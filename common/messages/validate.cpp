// What a message may hold. Everything else is refused before it reaches a role, with the field's name.

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <string_view>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/messages/control.h"
#include "common/messages/frame.h"
#include "common/messages/messages.h"
#include "common/messages/weight_manifest.h"

namespace troupe {
namespace {

constexpr std::size_t kMaxSamples = 65536;          // completions of a group
constexpr std::size_t kMaxTokens = std::size_t{1} << 24;  // of a prompt or a completion
constexpr std::size_t kMaxComponents = 256;         // rewards of a completion
constexpr std::size_t kMaxLeases = 65536;           // named in one message
constexpr std::size_t kMaxName = 512;               // bytes of a name
constexpr std::size_t kMaxReason = 65536;           // bytes of a reason
constexpr std::size_t kMaxTensors = 1 << 20;
constexpr std::size_t kMaxDimensions = 16;
constexpr std::size_t kNcclIdBytes = 128;           // NCCL_UNIQUE_ID_BYTES
constexpr double kLogprobSlack = 1e-3;              // rounding may lift the logarithm of a probability near 1 above 0

std::string text_of(std::integral auto value) { return std::to_string(value); }
std::string text_of(double value) { return shortest(value); }

[[noreturn]] void refuse(const std::string& field, const std::string& expected, const std::string& found) {
  throw ProtocolError(field + ": expected " + expected + ", found " + found);
}

template <class T>
void in_range(const std::string& field, T value, T lowest, T highest) {
  // Written so that NaN is refused.
  if (!(value >= lowest && value <= highest)) {
    refuse(field, text_of(lowest) + " to " + text_of(highest), text_of(value));
  }
}

void not_negative(const std::string& field, double value) {
  in_range(field, value, 0.0, std::numeric_limits<double>::max());
}

void count_in(const std::string& field, std::size_t count, std::size_t lowest, std::size_t highest) {
  in_range(field + " (count)", count, lowest, highest);
}

void same_count(const std::string& field, std::size_t count, std::size_t expected, const std::string& as) {
  if (count != expected) refuse(field, text_of(expected) + " elements as in " + as, text_of(count));
}

/// A name is shown in logs: printable, and not endless.
void is_name(const std::string& field, const std::string& value, std::size_t lowest = 1) {
  count_in(field, value.size(), lowest, kMaxName);
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (std::any_of(value.begin(), value.end(), control)) refuse(field, "printable characters", "a control character");
}

void is_enumerator(const std::string& field, auto value, auto last) {
  in_range(field, static_cast<unsigned>(value), 0U, static_cast<unsigned>(last));
}

void are_ids(const std::string& field, const std::vector<std::int32_t>& ids, std::size_t lowest, std::size_t highest) {
  count_in(field, ids.size(), lowest, highest);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0) refuse(field + "[" + text_of(i) + "]", "a token id of at least 0", text_of(ids[i]));
  }
}

std::string at(const std::string& field, std::size_t i) { return field + "[" + text_of(i) + "]"; }

void check_sampling(const std::string& field, const SamplingParams& sampling) {
  in_range(field + ".temperature", sampling.temperature, 0.0, 1e4);
  in_range(field + ".top_p", sampling.top_p, std::numeric_limits<double>::min(), 1.0);
  in_range(field + ".top_k", sampling.top_k, 0, std::numeric_limits<std::int32_t>::max());
  in_range(field + ".min_p", sampling.min_p, 0.0, 1.0);
  in_range(field + ".max_tokens", sampling.max_tokens, 1, static_cast<std::int32_t>(kMaxTokens));
  in_range(field + ".min_tokens", sampling.min_tokens, 0, sampling.max_tokens - 1);
  are_ids(field + ".stop_ids", sampling.stop_ids, 0, kMaxComponents);
  count_in(field + ".stop_texts", sampling.stop_texts.size(), 0, kMaxComponents);
  for (const std::string& text : sampling.stop_texts) count_in(field + ".stop_texts (bytes)", text.size(), 1, kMaxName);
}

void check_completion(const std::string& field, const Completion& completion, std::size_t place) {
  if (completion.sample != place) refuse(field + ".sample", text_of(place) + " (sample order)", text_of(completion.sample));
  are_ids(field + ".token_ids", completion.token_ids, 1, kMaxTokens);
  const std::size_t tokens = completion.token_ids.size();
  same_count(field + ".logprobs", completion.logprobs.size(), tokens, "token_ids");
  same_count(field + ".versions", completion.versions.size(), tokens, "token_ids");
  for (std::size_t i = 0; i < tokens; ++i) {
    const auto logprob = static_cast<double>(completion.logprobs[i]);
    if (!(std::isfinite(logprob) && logprob <= kLogprobSlack)) {
      refuse(at(field + ".logprobs", i), "a finite number of at most 0", text_of(logprob));
    }
  }
  is_enumerator(field + ".finish_reason", completion.finish_reason, FinishReason::kLength);
}

void check_completions(const std::string& field, const std::vector<Completion>& completions) {
  count_in(field, completions.size(), 1, kMaxSamples);
  for (std::size_t i = 0; i < completions.size(); ++i) check_completion(at(field, i), completions[i], i);
}

void check_value(const std::string& field, const std::optional<double>& value) {
  if (value && !std::isfinite(*value)) refuse(field, "a finite number", text_of(*value));
}

void check_scores(const std::string& field, const std::vector<Score>& scores) {
  count_in(field, scores.size(), 1, kMaxSamples);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    check_value(at(field, i) + ".reward", scores[i].reward);
    count_in(at(field, i) + ".components", scores[i].components.size(), 0, kMaxComponents);
    for (std::size_t k = 0; k < scores[i].components.size(); ++k) {
      const RewardComponent& component = scores[i].components[k];
      const std::string place = at(at(field, i) + ".components", k);
      is_name(place + ".name", component.name);
      check_value(place + ".value", component.value);
      is_name(place + ".reason", component.reason);
      not_negative(place + ".ms", component.ms);
    }
  }
}

/// Bytes of a tensor of this shape; nothing where the product does not fit.
std::optional<std::uint64_t> bytes_of_shape(const std::vector<std::int64_t>& shape, std::uint64_t element_bytes) {
  std::uint64_t bytes = element_bytes;
  for (const std::int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes)) return std::nullopt;
  }
  return bytes;
}

}  // namespace

void Lease::validate() const {
  is_enumerator("Lease.purpose", purpose, Purpose::kEvaluate);
  in_range("Lease.samples", samples, std::uint32_t{1}, static_cast<std::uint32_t>(kMaxSamples));
  are_ids("Lease.prompt_ids", prompt_ids, 1, kMaxTokens);
  check_sampling("Lease.sampling", sampling);
}

void RolloutGroup::validate() const {
  is_enumerator("RolloutGroup.purpose", purpose, Purpose::kEvaluate);
  check_completions("RolloutGroup.completions", completions);
  not_negative("RolloutGroup.generate_s", generate_s);
}

void ScoreTask::validate() const {
  is_enumerator("ScoreTask.purpose", purpose, Purpose::kEvaluate);
  count_in("ScoreTask.completions", completions.size(), 1, kMaxSamples);
  same_count("ScoreTask.token_counts", token_counts.size(), completions.size(), "completions");
  same_count("ScoreTask.finish_reasons", finish_reasons.size(), completions.size(), "completions");
  for (std::size_t i = 0; i < finish_reasons.size(); ++i) {
    is_enumerator(at("ScoreTask.finish_reasons", i), finish_reasons[i], FinishReason::kLength);
  }
}

void ScoredGroup::validate() const {
  is_enumerator("ScoredGroup.purpose", purpose, Purpose::kEvaluate);
  check_scores("ScoredGroup.scores", scores);
  not_negative("ScoredGroup.score_s", score_s);
}

void GroupRecord::validate() const {
  is_enumerator("GroupRecord.purpose", purpose, Purpose::kEvaluate);
  are_ids("GroupRecord.prompt_ids", prompt_ids, 1, kMaxTokens);
  check_completions("GroupRecord.completions", completions);
  check_scores("GroupRecord.scores", scores);
  same_count("GroupRecord.scores", scores.size(), completions.size(), "completions");
  is_name("GroupRecord.actor", actor, 0);
  is_name("GroupRecord.rewarder", rewarder, 0);
}

void Hello::validate() const {
  is_enumerator("Hello.role", role, Role::kRewarder);
  is_name("Hello.name", name);
  is_name("Hello.host", host, 0);
  is_name("Hello.token", token, 0);
}

void Welcome::validate() const {
  is_name("Welcome.run_id", run_id, 0);
  is_name("Welcome.host", host, 0);
  for (const ModelFile& file : model_files) {
    // It becomes a file of the actor's: never a path.
    is_name("Welcome.model_files.name", file.name, 1);
    if (file.name.find('/') != std::string::npos || file.name.front() == '.') {
      throw ProtocolError("Welcome.model_files.name: expected a plain file name, found \"" + file.name + "\"");
    }
  }
}

void Refusal::validate() const { count_in("Refusal.reason", reason.size(), 1, kMaxReason); }

void Credit::validate() const { in_range("Credit.groups", groups, 0U, static_cast<unsigned>(kMaxLeases)); }

void Heartbeat::validate() const {
  not_negative("Heartbeat.tokens_per_s", tokens_per_s);
  not_negative("Heartbeat.weights_stall_s", weights_stall_s);
  count_in("Heartbeat.leases", leases.size(), 0, kMaxLeases);
}

void Accepted::validate() const {}

void Revoke::validate() const { count_in("Revoke.lease_ids", lease_ids.size(), 1, kMaxLeases); }

void Shutdown::validate() const {
  in_range("Shutdown.exit_code", exit_code, 0, 255);
  count_in("Shutdown.reason", reason.size(), 0, kMaxReason);
}

void Goodbye::validate() const { count_in("Goodbye.reason", reason.size(), 0, kMaxReason); }

void LearnerBeat::validate() const {
  in_range("LearnerBeat.step", step, std::int64_t{0}, std::numeric_limits<std::int64_t>::max());
  is_name("LearnerBeat.phase", phase, 0);
}

void StepShard::validate() const {
  in_range("StepShard.step", step, std::int64_t{0}, std::numeric_limits<std::int64_t>::max());
}

void WeightManifest::validate() const {
  if (dtype != "fp32" && dtype != "bf16") {
    refuse("WeightManifest.dtype", "fp32 or bf16", "\"" + dtype.substr(0, kMaxName) + "\"");
  }
  const std::uint64_t element_bytes = dtype == "fp32" ? 4 : 2;
  in_range("WeightManifest.bucket_bytes", bucket_bytes, std::uint64_t{1}, kMaxFrameBytes / 2);
  const std::uint64_t buckets = total_bytes / bucket_bytes + (total_bytes % bucket_bytes != 0 ? 1 : 0);
  if (bucket_checksums.size() != buckets) {
    refuse("WeightManifest.bucket_checksums",
           text_of(buckets) + " (" + text_of(total_bytes) + " bytes in buckets of " + text_of(bucket_bytes) + ")",
           text_of(bucket_checksums.size()));
  }
  count_in("WeightManifest.tensors", tensors.size(), 1, kMaxTensors);
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorEntry& tensor = tensors[i];
    const std::string place = at("WeightManifest.tensors", i);
    is_name(place + ".name", tensor.name);
    const std::string named = place + " \"" + tensor.name + "\"";
    count_in(named + ".shape", tensor.shape.size(), 0, kMaxDimensions);
    const std::optional<std::uint64_t> bytes = bytes_of_shape(tensor.shape, element_bytes);
    if (bytes != tensor.size_bytes) {
      refuse(named + ".size_bytes", bytes ? text_of(*bytes) + " by its shape" : "a shape whose bytes can be counted",
             text_of(tensor.size_bytes));
    }
    if (tensor.offset_bytes < end || tensor.offset_bytes > total_bytes || tensor.size_bytes > total_bytes - tensor.offset_bytes) {
      refuse(named + ".offset_bytes", "a place after the tensor before it and within " + text_of(total_bytes) + " bytes",
             text_of(tensor.offset_bytes) + " + " + text_of(tensor.size_bytes));
    }
    end = tensor.offset_bytes + tensor.size_bytes;
  }
  is_name("WeightManifest.shared_memory", shared_memory, 0);
  if (shared_memory.find('/', 1) != std::string::npos) {
    refuse("WeightManifest.shared_memory", "a name for shm_open, without a folder", "\"" + shared_memory + "\"");
  }
}

void ManifestRequest::validate() const {}

void ChunkRequest::validate() const {}

void WeightChunk::validate() const {
  if (gone != bytes.empty()) {
    refuse("WeightChunk.bytes", gone ? "none of a version that is gone" : "at least 1", text_of(bytes.size()));
  }
}

void WeightMember::validate() const { is_name("WeightMember.gpu", gpu, 0); }

void WeightGroup::validate() const {
  count_in("WeightGroup.id (bytes)", id.size(), kNcclIdBytes, kNcclIdBytes);
  in_range("WeightGroup.size", size, std::uint32_t{2}, static_cast<std::uint32_t>(kMaxLeases));
  in_range("WeightGroup.rank", rank, std::uint32_t{1}, size - 1);
}

void WeightBroadcast::validate() const {}

const char* name_of(Role role) {
  switch (role) {
    case Role::kLearner:
      return "learner";
    case Role::kActor:
      return "actor";
    case Role::kRewarder:
      return "rewarder";
  }
  return "unknown role";
}

}  // namespace troupe
