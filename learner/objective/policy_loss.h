#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "common/config/config.h"

namespace troupe {

/// Completion tokens of whole sequences, one after the other. Sequence i has the tokens offsets[i] ... offsets[i + 1]
/// - 1. A token whose weight is 0 does not train: nothing is computed from its numbers, whatever they are.
struct TokenBatch {
  std::span<const std::int64_t> offsets;  // sequences + 1
  std::span<const float> logp;            // of the weights being trained; carries the gradient
  std::span<const float> old_logp;        // of the version that the step starts from, by the learner; no gradient
  std::span<const float> sampler_logp;    // as drawn
  std::span<const float> ref_logp;        // of the reference model; may be empty where no KL is asked for
  std::span<const double> advantage;
  std::span<const double> weight;  // token_weights.h
};

/// Sums, counts and maxima over the tokens that train; added over micro-batches and ranks, divided by `tokens` when
/// shown.
struct PolicyMetrics {
  std::int64_t tokens = 0;
  double kl_sum = 0;         // by loss.kl's estimator, between logp and ref_logp
  std::int64_t clipped = 0;  // a bound took the token's gradient (cispo: bounded its weight)
  double max_log_ratio = 0;  // max |logp - old_logp|
  double mismatch_sum = 0;   // sum of |old_logp - sampler_logp|
  double mismatch_max = 0;
  std::int64_t tis_capped = 0;
  std::int64_t non_finite = 0;  // tokens with an input or a result that is not finite

  PolicyMetrics& operator+=(const PolicyMetrics& other);
  bool operator==(const PolicyMetrics&) const = default;
};

struct PolicyLoss {
  double loss = 0;  // this batch's part of the update's loss; NaN where non_finite > 0
  std::vector<float>
      grad_logp;  // dloss / dlogp, one a token; NaN where it is not finite, so that the update is skipped
  PolicyMetrics metrics;
};

/// loss = sum_t w_t (-c_t J_t + beta k_t), with ratio r = exp(logp - old_logp), advantage A, l = clip_low, h =
/// clip_high:
///
///   clip       J = min(r A, clip(r, 1-l, 1+h) A)       PPO (arXiv:1707.06347) eq. 7, GRPO (2402.03300) eq. 3;
///                                                      l < h is clip-higher, DAPO (2503.14476) eq. 10
///   dual_clip  J = max(that, dual_clip A) where A < 0  Ye et al. (1912.09729); a bound on top of clip
///   gspo       as clip, with s = exp(mean_t (logp - old_logp)) of the sequence in r's place; the gradient is that of
///              s_t = sg[s] exp(logp - sg[logp]): GSPO-token (2507.18071) eq. 13-14, which is GSPO's own (eq. 5-7)
///              where A, w and c are the same for all tokens of a sequence; no dual clip
///   cispo      J = sg[clip(r, 1-l, 1+h)] A logp        MiniMax-M1 (2506.13585) eq. 4-5; clip_low = 1 leaves the lower
///                                                      side open, as they train
///   reinforce  J = A logp
///
/// c = sg[min(exp(old_logp - sampler_logp), tis_cap)], or 1 where tis_cap is 0: truncated importance sampling of the
/// sampler's numbers against the learner's (Yao et al. 2025, "Your efficient RL framework secretly brings you
/// off-policy RL training"). It weighs J only, not the KL.
///
/// k estimates KL(policy || reference) from d = logp - ref_logp (Schulman 2020, "Approximating KL divergence"):
/// k1 = d, k2 = d^2 / 2, k3 = exp(-d) + d - 1 (DeepSeekMath eq. 4). kl_in = loss adds kl_coef k_t with its derivative
/// in logp: 1, d, 1 - exp(-d) (k1's has mean zero on policy: published, but of no use as a loss). kl_in = reward leaves
/// the loss alone and charges each token as PPO's per-token reward does (DeepSeekMath eq. 2, REINFORCE++ 2501.03262):
/// A becomes A - kl_coef sum_{u >= t} k_u over the rest of the sequence, with d = old_logp - ref_logp, without
/// gradient. Departure: the charge is not part of the group's or the step's mean and deviation, because the reference
/// is not at hand when advantages are taken. No estimator is clamped (NeMo RL clamps d to +-20).
///
/// Arithmetic in double from float inputs; a token's gradient depends on its own sequence alone, so that it has the
/// same bits however the update was cut. With loss.advantage = gae the charge of kl_in = reward is in the advantages
/// already (gae.h), and not made here. @throws InternalError where sizes do not fit, ConfigError naming an unknown
/// option's value.
PolicyLoss policy_loss(const LossConfig& config, const TokenBatch& batch);

/// k of the estimator (none, k1, k2 or k3) for a log-ratio d, as above. @throws ConfigError naming an unknown one.
double kl_estimate(std::string_view estimator, double d);

}  // namespace troupe
