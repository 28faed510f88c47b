#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace troupe {

/// What a completion's tokens did better than the critic expected, and what it should have expected; one a token.
struct TokenReturns {
  std::vector<double> advantages;
  std::vector<double> returns;
};

/// Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438, eq. 16) over one completion, which ends its episode: with
/// r_t the token's reward and V_t the value of the text before it, V_T = 0 behind the last,
///
///   delta_t = r_t + gamma V_{t+1} - V_t,   A_t = sum_k (gamma lambda)^k delta_{t+k},   return_t = A_t + V_t
TokenReturns generalised_advantages(std::span<const double> rewards, std::span<const double> values, double gamma, double lambda);

/// The rewards of a completion's tokens in RLHF (Ziegler et al. 2019, arXiv:1909.08593, eq. 2; Stiennon et al. 2020; Ouyang et al.
/// 2022, eq. 2): -kl_coef k_t at each token, k_t from d = old_logp - ref_logp by the estimator (policy_loss.h), and `reward` at the
/// last one besides. `ref_logp` may be empty: no charge.
std::vector<double> token_rewards(double reward, std::span<const float> old_logp, std::span<const float> ref_logp,
                                  std::string_view estimator, double kl_coef);

/// Mean and scale of a set of numbers from its sums, for whitening as TRL and the code of Stiennon et al. do: (x - mean) * scale,
/// scale = 1 / sqrt(variance + 1e-8), the variance divided by n - 1. Of fewer than two numbers the scale is 1 and the mean 0.
struct Whitening {
  double mean = 0;
  double scale = 1;
};
Whitening whitening(double count, double sum, double sum_of_squares);

/// The critic's loss sum_t w_t max((v_t - R_t)^2, (c_t - R_t)^2) / 2 with c_t = v_t held within `clip` of `old_t`, the value that the
/// advantages were taken with (the code of Schulman et al. 2017; as in TRL); clip 0: (v_t - R_t)^2 alone. And its gradient in v_t.
struct ValueLoss {
  double loss = 0;
  std::vector<double> grad_values;
  std::int64_t clipped = 0;  // tokens whose clipped error was the larger
};
ValueLoss value_loss(std::span<const double> values, std::span<const double> old_values, std::span<const double> returns,
                     std::span<const double> weights, double clip);

}  // namespace troupe
