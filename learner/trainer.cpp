#include "learner/trainer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>
#include <span>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "learner/objective/token_weights.h"
#include "learner/token_pass.h"

namespace troupe {
namespace {

std::vector<TokenSequence> sequences_of(std::span<const Trajectory> micro_batch) {
  std::vector<TokenSequence> sequences;
  sequences.reserve(micro_batch.size());
  for (const Trajectory& trajectory : micro_batch) sequences.push_back({trajectory.ids, trajectory.prompt_tokens});
  return sequences;
}

std::span<const float> span_of(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

}  // namespace

Trainer::Trainer(const Config& config, Transformer& model, const Transformer* reference, ShardedOptimizer& optimizer,
                 Communicator& communicator, const LoraAdapters* lora, Critic* critic, Recompute recompute)
    : config_(config),
      model_(model),
      reference_(reference),
      optimizer_(optimizer),
      communicator_(communicator),
      critic_(critic),
      recompute_(recompute),
      gradients_(model, optimizer, lora, zero_stage_of(config, optimizer.communicator())),
      exact_(config.run.exact && exactness_obstacles(config).empty()) {}

TrainStats Trainer::train(const StepPlan& plan, const std::function<void(const std::string&)>& phase,
                          std::vector<UpdateTrace>* traces, bool recorded) {
  assert_exact_ = exact_ && !recorded;
  TrainStats stats;
  phase("reference");
  old_logprobs_ = config_.loss.tis_cap > 0 ? frozen_logprobs(model_, plan) : FrozenLogprobs();
  reference_logprobs_ = reference_logprobs(plan);
  if (critic_ != nullptr) look_ahead(plan);
  for (std::size_t i = 0; i < plan.updates.size(); ++i) {
    const UpdateShard& update = plan.updates[i];
    gradients_.clear();
    UpdateTrace* const trace = traces != nullptr && update.global_sequences > 0 ? &traces->emplace_back() : nullptr;
    const std::size_t own = update.micro_batches.size(), all = gradients_.rounds(own);
    for (std::size_t m = 0; m < all; ++m) {
      phase("forward and backward, update " + std::to_string(i + 1) + ", micro-batch " + std::to_string(m + 1));
      stats.loss += train_micro_batch(m < own ? update.micro_batches[m] : std::vector<Trajectory>(), update, i == 0, stats, trace);
    }
    if (update.global_sequences == 0) continue;  // nothing trains: momentum alone must not move the weights
    if (fault::spoilt("learner.gradient")) gradients_.spoil();
    phase("optimizer");
    fault::point("learner.optimizer");
    const OptimizerStep step = gradients_.step(plan.step, trace);
    fault::point("learner.updated");
    stats.grad_norm = step.grad_norm;
    stats.lr = step.lr;
    const OptimizerStep value = critic_ != nullptr ? critic_->update(plan.step) : OptimizerStep();
    stats.skipped += step.skipped || value.skipped ? 1 : 0;
    for (const std::string& bad : {step.bad_tensor, value.bad_tensor}) {
      if (stats.bad_tensor.empty()) stats.bad_tensor = bad;
    }
    ++stats.updates;
  }
  combine_over_ranks(stats);
  if (critic_ != nullptr) stats.critic = critic_->numbers();
  return stats;
}

double Trainer::train_micro_batch(const std::vector<Trajectory>& micro_batch, const UpdateShard& update, bool first_update,
                                  TrainStats& stats, UpdateTrace* trace) {
  if (micro_batch.empty()) {
    if (gradients_.in_step()) TokenPass(model_, {}, 1.0, recompute_).backward(at::empty({0}, at::kFloat), gradients_);
    if (critic_ != nullptr) critic_->train_micro_batch({}, {});
    return 0;
  }
  fault::point("learner.forward");
  const std::vector<TokenSequence> sequences = sequences_of(micro_batch);
  TokenPass pass(model_, sequences, config_.sampling.temperature, recompute_, config_.batch.share_prompts);
  TokenTargets targets = token_targets(micro_batch, update, config_.loss, config_.sampling.max_tokens);
  if (critic_ != nullptr) targets.advantage = critic_->advantages(micro_batch);
  const std::span<const float> logp = span_of(pass.tokens().logp_N);
  if (assert_exact_ && first_update) require_exact(micro_batch, logp, targets.sampler_logp);

  if (first_update) {
    for (std::size_t i = 0; i < logp.size(); ++i) {
      if (targets.weight[i] != 0) stats.mismatch.add(double{logp[i]} - double{targets.sampler_logp[i]});
    }
  }

  const auto joined = [&](const FrozenLogprobs& frozen) {
    std::vector<float> all;
    if (frozen.empty()) return all;
    for (const Trajectory& trajectory : micro_batch) {
      const auto& part = frozen.at({trajectory.group, trajectory.sample});
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  };
  const std::vector<float> reference = joined(reference_logprobs_);
  const std::vector<float> recomputed = joined(old_logprobs_);

  TokenBatch batch;
  batch.offsets = targets.offsets;
  batch.logp = logp;
  batch.old_logp = recomputed.empty() ? std::span<const float>(targets.sampler_logp) : std::span<const float>(recomputed);
  batch.sampler_logp = targets.sampler_logp;
  batch.ref_logp = reference;
  batch.advantage = targets.advantage;
  batch.weight = targets.weight;
  PolicyLoss result = policy_loss(config_.loss, batch);
  if (trace != nullptr) {
    trace->add(sequences, pass.tokens());
    trace->add_policy(micro_batch, batch);
    trace->loss += result.loss;
  }
  stats.policy += result.metrics;
  stats.entropy_sum += pass.tokens().entropy_N.sum(at::kDouble).item<double>();
  const at::Tensor grad_N = at::from_blob(result.grad_logp.data(), {static_cast<std::int64_t>(result.grad_logp.size())}, at::kFloat);
  fault::point("learner.backward");
  pass.backward(grad_N, gradients_);
  if (critic_ != nullptr) critic_->train_micro_batch(micro_batch, targets.weight);
  return result.loss;
}

Trainer::FrozenLogprobs Trainer::frozen_logprobs(const Transformer& model, const StepPlan& plan) const {
  std::vector<std::span<const Trajectory>> micro_batches = first_micro_batches(plan);
  micro_batches.resize(gradients_.rounds(micro_batches.size()));
  FrozenLogprobs frozen;
  for (const std::span<const Trajectory> micro_batch : micro_batches) {
    const TokenPass pass(model, sequences_of(micro_batch), config_.sampling.temperature, std::nullopt, config_.batch.share_prompts);
    const std::span<const float> logp = span_of(pass.tokens().logp_N);
    std::size_t at = 0;
    for (const Trajectory& trajectory : micro_batch) {
      const auto count = static_cast<std::size_t>(trajectory.completion_tokens());
      const auto part = logp.subspan(at, count);
      frozen.try_emplace({trajectory.group, trajectory.sample}, part.begin(), part.end());
      at += count;
    }
  }
  return frozen;
}

Trainer::FrozenLogprobs Trainer::reference_logprobs(const StepPlan& plan) const {
  if (reference_ == nullptr) return {};
  const at::Device device = model_.parameters().flat().device();
  if (reference_->parameters().flat().device() == device) return frozen_logprobs(*reference_, plan);
  return frozen_logprobs(Transformer(reference_->parameters().on(device), exact_), plan);
}

/// The values and advantages of the step, by its critic.
void Trainer::look_ahead(const StepPlan& plan) {
  const auto frozen = [](const FrozenLogprobs& logprobs, const Trajectory& trajectory) {
    const auto found = logprobs.find({trajectory.group, trajectory.sample});
    return found == logprobs.end() ? std::span<const float>() : std::span<const float>(found->second);
  };
  critic_->look_ahead(
      plan,
      [&](const Trajectory& trajectory) {
        const auto recomputed = frozen(old_logprobs_, trajectory);
        return recomputed.empty() ? std::span<const float>(trajectory.sampler_logprobs) : recomputed;
      },
      [&](const Trajectory& trajectory) { return frozen(reference_logprobs_, trajectory); });
}

void Trainer::require_exact(const std::vector<Trajectory>& micro_batch, std::span<const float> logp,
                            std::span<const float> sampler_logp) const {
  std::size_t at = 0;
  for (const Trajectory& trajectory : micro_batch) {
    for (std::int64_t i = 0; i < trajectory.completion_tokens(); ++i, ++at) {
      if (std::bit_cast<std::uint32_t>(logp[at]) == std::bit_cast<std::uint32_t>(sampler_logp[at])) continue;
      throw DeviceError("exact mode: group " + std::to_string(trajectory.group) + ", sample " + std::to_string(trajectory.sample) +
                        ", completion token " + std::to_string(i) + ": the sampler drew it with log-probability " +
                        std::to_string(sampler_logp[at]) + ", the learner computes " + std::to_string(logp[at]) +
                        " from the same weights; the kernels of actor and learner differ on these machines (CPU type, " +
                        "GPU type, library version): run them on one type of machine, or set run.exact = false");
    }
  }
}

void Trainer::combine_over_ranks(TrainStats& stats) {
  PolicyMetrics& p = stats.policy;
  std::vector<double> sums = {stats.loss,
                              stats.entropy_sum,
                              static_cast<double>(p.tokens),
                              p.kl_sum,
                              static_cast<double>(p.clipped),
                              p.mismatch_sum,
                              static_cast<double>(p.tis_capped),
                              static_cast<double>(p.non_finite),
                              static_cast<double>(stats.mismatch.tokens),
                              stats.mismatch.sum,
                              stats.mismatch.ratios,
                              stats.mismatch.squares};
  communicator_.all_reduce_sum(sums, "step metrics");
  stats.loss = sums[0];
  stats.entropy_sum = sums[1];
  p.tokens = std::llround(sums[2]);
  p.kl_sum = sums[3];
  p.clipped = std::llround(sums[4]);
  p.mismatch_sum = sums[5];
  p.tis_capped = std::llround(sums[6]);
  p.non_finite = std::llround(sums[7]);
  stats.mismatch.tokens = std::llround(sums[8]);
  stats.mismatch.sum = sums[9];
  stats.mismatch.ratios = sums[10];
  stats.mismatch.squares = sums[11];

  const std::array<double, 3> own = {p.max_log_ratio, p.mismatch_max, stats.mismatch.largest};
  std::vector<std::array<double, 3>> all(static_cast<std::size_t>(communicator_.size()));
  communicator_.all_gather(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all)), "step maxima");
  for (const auto& [ratio, mismatch, first] : all) {
    p.max_log_ratio = std::max(p.max_log_ratio, ratio);
    p.mismatch_max = std::max(p.mismatch_max, mismatch);
    stats.mismatch.largest = std::max(stats.mismatch.largest, first);
  }
}

}  // namespace troupe
