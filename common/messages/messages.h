#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

// The plain values that travel between roles and into the rollout log. The unit of work is the group: one prompt and its
// completions. Every message has defaults, equality and a validate() that throws ProtocolError with the field's name.

struct SamplingParams {
  double temperature = 1.0;  // 0: argmax, the lowest id on ties
  double top_p = 1.0;
  std::int32_t top_k = 0;
  double min_p = 0.0;
  std::int32_t max_tokens = 256;
  std::int32_t min_tokens = 0;         // stop ids cannot be drawn, and stop texts do not count, before so many tokens
  std::vector<std::int32_t> stop_ids;
  std::vector<std::string> stop_texts;  // a completion ends with the token that completes one
  bool operator==(const SamplingParams&) const = default;
};

enum class Purpose : std::uint8_t { kTrain = 0, kEvaluate = 1 };
enum class FinishReason : std::uint8_t { kStop = 0, kLength = 1 };

/// The right to generate one group until it is taken back. Hub to actor.
struct Lease {
  std::uint64_t lease_id = 0;     // unique over the run; the high 16 bits are the hub's incarnation
  std::uint64_t incarnation = 0;
  std::uint64_t group = 0;        // number in prompt order; for kEvaluate the row's number
  std::uint32_t attempt = 0;
  Purpose purpose = Purpose::kTrain;
  std::uint64_t seed = 0;         // key of the random stream (base/random.h)
  std::uint64_t policy_version = 0;  // the actor generates with this version or, at max_lag > 0, a newer one
  std::uint32_t samples = 0;
  std::vector<std::int32_t> prompt_ids;
  SamplingParams sampling;
  bool operator==(const Lease&) const = default;
  void validate() const;
};

struct Completion {
  std::uint32_t sample = 0;
  std::vector<std::int32_t> token_ids;   // the stop token included
  std::vector<float> logprobs;           // of each token under the distribution it was drawn from
  std::vector<std::uint64_t> versions;   // the policy version that drew each token
  FinishReason finish_reason = FinishReason::kStop;
  std::string text;                      // decoded, without special tokens
  bool operator==(const Completion&) const = default;
};

/// All completions of a leased group. Actor to hub.
struct RolloutGroup {
  std::uint64_t lease_id = 0;
  std::uint64_t incarnation = 0;
  std::uint64_t group = 0;
  Purpose purpose = Purpose::kTrain;
  std::vector<Completion> completions;  // in sample order
  double generate_s = 0;                // wall time that it took, for metrics
  bool operator==(const RolloutGroup&) const = default;
  void validate() const;
};

/// A generated group that waits for its scores. Hub to rewarder.
struct ScoreTask {
  std::uint64_t lease_id = 0;
  std::uint64_t incarnation = 0;
  std::uint64_t group = 0;
  Purpose purpose = Purpose::kTrain;
  std::string row;                      // the data row as JSON: question, gold, reward …
  std::vector<std::string> completions;
  std::vector<std::uint32_t> token_counts;
  std::vector<FinishReason> finish_reasons;
  bool operator==(const ScoreTask&) const = default;
  void validate() const;
};

struct RewardComponent {
  std::string name;
  std::optional<double> value;  // nothing where the verifier failed
  std::string reason;           // ok, wrong, no_answer, …, verifier_failed
  double ms = 0;
  bool operator==(const RewardComponent&) const = default;
};

/// The weighted sum of the components; nothing where one failed.
struct Score {
  std::optional<double> reward;
  std::vector<RewardComponent> components;
  bool operator==(const Score&) const = default;
};

/// The scores of a group's completions, in sample order. Rewarder to hub.
struct ScoredGroup {
  std::uint64_t lease_id = 0;
  std::uint64_t incarnation = 0;
  std::uint64_t group = 0;
  Purpose purpose = Purpose::kTrain;
  std::vector<Score> scores;
  double score_s = 0;
  bool operator==(const ScoredGroup&) const = default;
  void validate() const;
};

/// A group with everything that training needs: what the rollout log holds and the learner consumes.
struct GroupRecord {
  std::uint64_t group = 0;
  Purpose purpose = Purpose::kTrain;
  std::vector<std::int32_t> prompt_ids;
  std::string row;
  std::vector<Completion> completions;
  std::vector<Score> scores;
  std::string actor;     // who and when are not part of the content hash
  std::string rewarder;
  std::uint32_t attempt = 0;
  bool operator==(const GroupRecord&) const = default;
  void validate() const;
};

/// XXH3-128 of prompt ids, token ids, log-probabilities, versions, finish reasons, rewards and component values.
std::string content_hash(const GroupRecord& record);

/// The lowest policy version among the group's tokens, of which there is at least one in a valid record.
std::uint64_t lowest_version(const GroupRecord& record);

/// The record in cereal's portable binary, without a header: for the rollout log.
std::string serialize_record(const GroupRecord& record);

/// @throws ProtocolError where the bytes are not exactly one valid record.
GroupRecord deserialize_record(std::string_view bytes);

}  // namespace troupe
