#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "learner/objective/policy_loss.h"

namespace troupe::test {

/// The arrays behind a TokenBatch. What a case does not give is filled in: old_logp = logp (on policy), sampler_logp =
/// old_logp, weight = 1, a single sequence.
struct LossBatch {
  std::vector<float> logp;
  std::vector<double> advantage;
  std::vector<float> old_logp = {};
  std::vector<float> sampler_logp = {};
  std::vector<float> ref_logp = {};
  std::vector<double> weight = {};
  std::vector<std::int64_t> offsets = {};

  PolicyLoss loss(const LossConfig& config) {
    if (old_logp.empty()) old_logp = logp;
    if (sampler_logp.empty()) sampler_logp = old_logp;
    if (weight.empty()) weight.assign(logp.size(), 1);
    if (offsets.empty()) offsets = {0, static_cast<std::int64_t>(logp.size())};
    return policy_loss(config, {offsets, logp, old_logp, sampler_logp, ref_logp, advantage, weight});
  }
};

/// The bare policy term: no KL, bounds of 0.2.
inline LossConfig bare(const std::string& policy = "clip") {
  LossConfig config;
  config.policy = policy;
  config.kl = "none";
  return config;
}

inline bool near(double found, double expected, double rtol, double atol) {
  return std::abs(found - expected) <= atol + rtol * std::abs(expected);
}

}  // namespace troupe::test
