#pragma once

// Published losses, KL estimators and gradients against ours. A comment says which convention is theirs where it is not
// ours.

#include "tests/learner/objective/conformance_case.h"

namespace troupe::test {

inline LossBatch batch_of(const json& in) {
  LossBatch batch;
  batch.logp = floats(in.at("logp"));
  batch.advantage = in.contains("advantages") ? numbers(in.at("advantages")) : Numbers(batch.logp.size(), 0);
  if (in.contains("old_logp")) batch.old_logp = floats(in.at("old_logp"));
  if (in.value("force_ratio_1", false)) batch.old_logp = batch.logp;
  if (in.contains("generation_logp")) batch.sampler_logp = floats(in.at("generation_logp"));
  if (in.contains("ref_logp")) batch.ref_logp = floats(in.at("ref_logp"));
  return batch;
}

// The loss of each token alone (weight 1), with the sequence that it stands in for the ratio.
inline Numbers each_token(const LossConfig& config, const LossBatch& batch) {
  Numbers losses;
  for (std::size_t t = 0; t < batch.logp.size(); ++t) {
    LossBatch one{{batch.logp[t]}, {batch.advantage[t]}};
    if (!batch.old_logp.empty()) one.old_logp = {batch.old_logp[t]};
    if (!batch.sampler_logp.empty()) one.sampler_logp = {batch.sampler_logp[t]};
    if (!batch.ref_logp.empty()) one.ref_logp = {batch.ref_logp[t]};
    losses.push_back(one.loss(config).loss);
  }
  return losses;
}

inline void token_mean_loss(const Case& c, const char* policy) {
  LossConfig config = bare(policy);
  config.dual_clip = c.in.value("dual_clip_c", 0.0);
  LossBatch batch = batch_of(c.in);
  if (c.out.contains("loss_per_token")) c.same(each_token(config, batch), numbers(c.out.at("loss_per_token")));
  batch.weight = weights("token_mean", numbers(c.in.at("mask")), {static_cast<std::int64_t>(batch.logp.size())});
  c.same(batch.loss(config).loss, c.out.at("loss"));
}

inline void gspo(const Case& c) {
  LossBatch batch = batch_of(c.in);
  batch.offsets = offsets_of(row_lengths(c.in.at("mask")));
  batch.weight = weights("sequence_mean", numbers(c.in.at("mask")), row_lengths(c.in.at("mask")));
  const PolicyLoss found = batch.loss(bare("gspo"));
  c.same(found.loss, c.out.at("loss"));
  // Not clipped: the gradient is -w s A, so the first token of the first row shows the sequence's ratio.
  c.same(-static_cast<double>(found.grad_logp[0]) / batch.weight[0] / batch.advantage[0], c.out.at("seq_ratio")[0]);
}

// The KL alone: advantage 0, coefficient 1.
inline LossConfig kl_only(const std::string& kind) {
  LossConfig config;
  config.kl = kind;
  config.kl_coef = 1;
  return config;
}

// Ours clamps nothing: the row with clamps is met by clamping our input and our output here.
inline void kl_estimator(const Case& c) {
  LossBatch batch = batch_of(c.in);
  if (c.in.contains("input_clamp")) {
    const double bound = c.in.at("input_clamp");
    for (std::size_t t = 0; t < batch.logp.size(); ++t) {
      const double d = std::clamp<double>(batch.logp[t] - batch.ref_logp[t], -bound, bound);
      batch.ref_logp[t] = static_cast<float>(batch.logp[t] - d);
    }
  }
  Numbers found = each_token(kl_only(c.in.at("type")), batch);
  if (c.in.contains("output_clamp")) {
    const double bound = c.in.at("output_clamp");
    for (double& value : found) value = std::clamp(value, -bound, bound);
  }
  c.same(found, numbers(c.out.at("kl")));
}

inline void kl_penalty(const Case& c) {
  LossBatch batch = batch_of(c.in);
  c.same(each_token(kl_only(c.in.at("type")), batch), numbers(c.out.at("kl_per_token")));
  LossConfig config = kl_only(c.in.at("type"));
  config.kl_coef = c.in.at("beta");
  batch.weight = weights("token_mean", numbers(c.in.at("mask")), {3});
  const PolicyLoss found = batch.loss(config);
  c.same(found.loss, c.out.at("loss"));
  c.same(found.metrics.kl_sum / 3, c.out.at("kl_mean"));
}

// Theirs also weighs the KL, by exp(logp - generation_logp); ours leaves it as DeepSeekMath's: the ratio of the two is
// that weight.
inline void importance_weight(const Case& c) {
  LossConfig config = bare();
  config.tis_cap = 100;  // acts on none of them
  LossBatch batch = batch_of(c.in);
  c.same(each_token(config, batch), numbers(c.out.at("weighted_loss_per_token")));
  batch.weight = weights("token_mean", numbers(c.in.at("mask")), {3});
  c.same(batch.loss(config).loss, c.out.at("actor_loss"));

  LossBatch kl = batch_of(c.in);
  kl.advantage.assign(3, 0);
  const Numbers found = each_token(kl_only("k3"), kl);
  c.same(found, numbers(c.out.at("kl_per_token")));
  for (std::size_t t = 0; t < 3; ++t)
    c.same(found[t] * c.out.at("kl_weight")[t].get<double>(), c.out.at("weighted_kl_per_token")[t]);
}

// Theirs: d/dlogp of sg-weighted exp(logp - sg[logp]) k3 = k3 + k3', and a clamp at 2 that holds the first token. Ours
// has neither: for the second token, our slope plus our value must be theirs.
inline void kl_gradient(const Case& c) {
  LossBatch batch = batch_of(c.in);
  batch.logp.erase(batch.logp.begin());
  batch.ref_logp.erase(batch.ref_logp.begin());
  batch.advantage = {0};
  const PolicyLoss found = batch.loss(kl_only(c.in.at("type")));
  c.same(found.loss, c.out.at("kl")[1]);
  c.same(found.loss + static_cast<double>(found.grad_logp[0]), c.out.at("grad_logp_of_sum")[1]);
}

inline void zero_mask(const Case& c) {
  LossBatch batch{std::vector<float>(3, NAN), Numbers(3, NAN)};
  batch.weight = numbers(c.in.at("mask"));
  CHECK(batch.loss(bare()).loss == c.out.at("loss").get<double>());
}

// Each token's own advantage is -dloss/dlogp of plain REINFORCE.
inline void broadcast(const Case& c) {
  LossBatch batch{{-1, -1, -1}, Numbers(3, c.in.at("advantage").get<double>())};
  batch.weight = numbers(c.in.at("trainable_mask"));
  const PolicyLoss found = batch.loss(bare("reinforce"));
  for (std::size_t t = 0; t < 3; ++t) {
    CHECK(found.grad_logp[t] == doctest::Approx(-c.out.at("per_token")[t].get<double>()).epsilon(1e-7));  // float
  }
}

inline void masked_nll(const Case& c) {
  LossBatch batch{floats(c.in.at("logp")), {1, 1, 1}};
  batch.weight = scaled(numbers(c.in.at("weights")), 1 / c.in.at("scale").get<double>());
  c.same(batch.loss(bare("reinforce")).loss, c.out.at("loss"));
}

// ---- CS336: [2, 10] rows, one advantage a row ----

inline LossBatch cs336_batch(const Case& c) {
  LossBatch batch;
  batch.logp = floats(c.in.at("policy_log_probs"));
  const Numbers advantage = c.in.contains("advantages") ? numbers(c.in.at("advantages")) : Numbers(2, 1);
  for (const double value : advantage) batch.advantage.insert(batch.advantage.end(), batch.logp.size() / 2, value);
  if (c.in.contains("old_log_probs")) batch.old_logp = floats(c.in.at("old_log_probs"));
  return batch;
}

inline LossConfig cs336_config(const Case& c, const char* policy) {
  LossConfig config = bare(policy);
  config.clip_low = config.clip_high = c.in.value("cliprange", 0.2);
  return config;
}

inline void cs336_per_token(const Case& c, const char* policy) {
  c.same(each_token(cs336_config(c, policy), cs336_batch(c)), numbers(c.out.at("array")));
}

inline void cs336_step(const Case& c, const char* policy, const Numbers& weight) {
  LossBatch batch = cs336_batch(c);
  batch.offsets = {0, 10, 20};
  batch.weight = scaled(weight, 1 / c.in.at("gradient_accumulation_steps").get<double>());
  const PolicyLoss found = batch.loss(cs336_config(c, policy));
  c.same(found.loss, numbers(c.out.at("loss")).at(0));
  c.same(Numbers(found.grad_logp.begin(), found.grad_logp.end()), numbers(c.out.at("policy_log_probs_grad")));
}

}  // namespace troupe::test
