#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/messages/messages.h"

namespace troupe {

/// A token and its natural log-probability under the distribution that it was drawn from.
struct DrawnToken {
  std::int32_t id = 0;
  float logprob = 0;
  bool operator==(const DrawnToken&) const = default;
};

/// Memory that draws with truncation reuse. One for each thread or sequence; its content carries nothing over.
struct SamplerScratch {
  std::vector<std::int32_t> ids;
  std::vector<float> logits;
  std::vector<float> allowed;
};

/// @throws ConfigError naming the field, its value and the range.
void validate_sampling(const SamplingParams& sampling);

/// Draws one token from a row of fp32 logits, given a uniform number in [0, 1). A pure function of its arguments.
///
/// Temperature 0 takes the highest logit (the lowest id on ties) and reports the untempered log-probability. Otherwise
/// the distribution is p[v] = exp(logits[v] / T - lse), lse = log_sum_exp(logits, T), and the token is the first, in id
/// order, whose cumulative probability exceeds `uniform`; its log-probability is logits[v] / T - lse in float, which is
/// what token_logprobs gives the trainer.
///
/// Truncation works on the tempered distribution in the order of Hugging Face transformers: top-k (equals of the k-th
/// stay), then top-p over what is left (the fewest of the most probable that reach it; the lower id first among
/// equals), then min-p relative to the most probable. What stays is renormalised, and the log-probability is that of
/// the result.
///
/// `banned` ids have no probability, whatever the temperature.
///
/// @throws DeviceError naming a logit that is not finite: the weights or the forward pass are broken.
DrawnToken draw_token(std::span<const float> logits, const SamplingParams& sampling, std::span<const std::int32_t> banned,
                      double uniform, SamplerScratch& scratch);

}  // namespace troupe
