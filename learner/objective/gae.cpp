#include "learner/objective/gae.h"

#include <algorithm>
#include <cmath>

#include "common/base/error.h"
#include "learner/objective/policy_loss.h"

namespace troupe {

TokenReturns generalised_advantages(std::span<const double> rewards, std::span<const double> values, double gamma, double lambda) {
  check(rewards.size() == values.size(), "generalised_advantages: a reward and a value for each token");
  TokenReturns result{std::vector<double>(values.size()), std::vector<double>(values.size())};
  double advantage = 0;
  double next_value = 0;
  for (std::size_t t = values.size(); t-- > 0;) {
    advantage = rewards[t] + gamma * next_value - values[t] + gamma * lambda * advantage;
    next_value = values[t];
    result.advantages[t] = advantage;
    result.returns[t] = advantage + values[t];
  }
  return result;
}

std::vector<double> token_rewards(double reward, std::span<const float> old_logp, std::span<const float> ref_logp,
                                  std::string_view estimator, double kl_coef) {
  check(!old_logp.empty() && (ref_logp.empty() || ref_logp.size() == old_logp.size()),
        "token_rewards: a completion has tokens, each with the reference's log-probability or none");
  std::vector<double> rewards(old_logp.size(), 0.0);
  for (std::size_t t = 0; t < ref_logp.size(); ++t) {
    rewards[t] = -kl_coef * kl_estimate(estimator, static_cast<double>(old_logp[t]) - static_cast<double>(ref_logp[t]));
  }
  rewards.back() += reward;
  return rewards;
}

Whitening whitening(double count, double sum, double sum_of_squares) {
  constexpr double kEpsilon = 1e-8;
  if (count < 2) return {};
  const double mean = sum / count;
  const double variance = std::max(0.0, (sum_of_squares - sum * mean) / (count - 1));
  return {mean, 1 / std::sqrt(variance + kEpsilon)};
}

ValueLoss value_loss(std::span<const double> values, std::span<const double> old_values, std::span<const double> returns,
                     std::span<const double> weights, double clip) {
  check(old_values.size() == values.size() && returns.size() == values.size() && weights.size() == values.size(),
        "value_loss: one number a token in every span");
  ValueLoss result;
  result.grad_values.assign(values.size(), 0.0);
  for (std::size_t t = 0; t < values.size(); ++t) {
    const double open = values[t] - returns[t];
    const double held = std::clamp(values[t], old_values[t] - clip, old_values[t] + clip) - returns[t];
    const bool clipped = clip > 0 && held * held > open * open;
    const double error = clipped ? held : open;
    result.loss += weights[t] * error * error / 2;
    result.grad_values[t] = clipped ? 0 : weights[t] * open;  // where it is held the value changes nothing
    result.clipped += clipped ? 1 : 0;
  }
  return result;
}

}  // namespace troupe
