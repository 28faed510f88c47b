#include "learner/objective/token_weights.h"

#include "common/base/error.h"

namespace troupe {

double token_weight(const LossConfig& loss, std::int64_t tokens, std::int64_t global_sequences,
                    std::int64_t global_tokens, std::int64_t max_tokens) {
  const auto sequences = static_cast<double>(global_sequences);
  if (loss.normalise == "sequence_mean") return 1 / (sequences * static_cast<double>(tokens));
  if (loss.normalise == "token_mean") return 1 / static_cast<double>(global_tokens);
  if (loss.normalise == "dr_grpo") return 1 / (sequences * static_cast<double>(max_tokens));
  throw ConfigError("loss.normalise: expected sequence_mean, token_mean or dr_grpo, found \"" + loss.normalise + "\"");
}

TokenTargets token_targets(std::span<const Trajectory> micro_batch, const UpdateShard& update, const LossConfig& loss,
                           std::int64_t max_tokens) {
  TokenTargets targets;
  targets.offsets.push_back(0);
  for (const Trajectory& trajectory : micro_batch) {
    const std::int64_t tokens = trajectory.completion_tokens();
    check(tokens > 0 && trajectory.sampler_logprobs.size() == static_cast<std::size_t>(tokens),
          "a trajectory that trains has completion tokens, each with the sampler's log-probability");
    const double weight = token_weight(loss, tokens, update.global_sequences, update.global_tokens, max_tokens);

    targets.offsets.push_back(targets.offsets.back() + tokens);
    targets.sampler_logp.insert(targets.sampler_logp.end(), trajectory.sampler_logprobs.begin(),
                                trajectory.sampler_logprobs.end());
    targets.advantage.insert(targets.advantage.end(), static_cast<std::size_t>(tokens), trajectory.advantage);
    targets.weight.insert(targets.weight.end(), static_cast<std::size_t>(tokens), weight);
  }
  return targets;
}

}  // namespace troupe
