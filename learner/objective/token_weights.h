#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/config/config.h"
#include "learner/objective/trajectory.h"

namespace troupe {

/// The weight w of each token of a completion of `tokens` tokens: loss = -sum over all tokens of w * objective.
///
///   sequence_mean  1 / (S |o_i|)       mean over completions of token means: GRPO, DeepSeekMath (arXiv:2402.03300) eq.
///   3 token_mean     1 / T               mean over the update's tokens: DAPO (2503.14476) eq. 12 dr_grpo        1 / (S
///   max_tokens)  sum over a constant: Dr. GRPO (2503.20783) section 3.2
///
/// S and T are the completions and completion tokens of the update that train, over all ranks and micro-batches: the
/// sum of the parts' losses and gradients is that of the whole, however it was cut. A completion that does not train
/// (reward missing, masked, empty) is in neither (as in OpenRLHF; TRL leaves masked ones in S).
/// @throws ConfigError naming an unknown loss.normalise.
double token_weight(const LossConfig& loss, std::int64_t tokens, std::int64_t global_sequences,
                    std::int64_t global_tokens, std::int64_t max_tokens);

/// What policy_loss needs of a micro-batch beside the model's log-probabilities: completion tokens only, one completion
/// after the other. Sequence i has the tokens offsets[i] ... offsets[i + 1] - 1.
struct TokenTargets {
  std::vector<std::int64_t> offsets;  // completions + 1
  std::vector<float> sampler_logp;
  std::vector<double> advantage;
  std::vector<double> weight;
};
TokenTargets token_targets(std::span<const Trajectory> micro_batch, const UpdateShard& update, const LossConfig& loss,
                           std::int64_t max_tokens);

}  // namespace troupe
