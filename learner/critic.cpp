#include "learner/critic.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/model/checkpoint_io.h"
#include "common/reward_model/score_pass.h"
#include "common/reward_model/with_score.h"
#include "learner/memory_plan.h"
#include "learner/objective/gae.h"

namespace troupe {
namespace {

/// The texts before each completion token: the last token is read by none of them.
std::vector<TextRows> states_of(std::span<const Trajectory> micro_batch) {
  std::vector<TextRows> texts;
  for (const Trajectory& trajectory : micro_batch) {
    texts.push_back({std::span(trajectory.ids).first(trajectory.ids.size() - 1), trajectory.prompt_tokens - 1});
  }
  return texts;
}

OptimizerConfig optimizer_of(const Config& config) {
  OptimizerConfig optimizer = config.optimizer;
  optimizer.lr = config.critic.lr;
  return optimizer;
}

}  // namespace

Critic::Critic(const Config& config, Parameters parameters, const Parameters& initial, const ShardRanks& ranks)
    : config_(config),
      communicator_(ranks.data()),
      model_(std::move(parameters)),
      optimizer_(model_.parameters(), initial.flat(), optimizer_of(config), config.run.steps, ranks),
      gradients_(model_, optimizer_, nullptr, zero_stage_of(config, ranks.all())),
      recompute_(plan_memory(config, model_.parameters(), ranks.all()).recompute) {
  gradients_.clear();
}

void Critic::look_ahead(const StepPlan& plan, const Logprobs& old, const Logprobs& reference) {
  expected_.clear();
  loss_ = 0;
  clipped_ = tokens_ = 0;
  const double kl_coef = config_.loss.kl_in == "reward" ? config_.loss.kl_coef : 0;
  std::vector<std::span<const Trajectory>> micro_batches = first_micro_batches(plan);
  micro_batches.resize(gradients_.rounds(micro_batches.size()));
  for (const std::span<const Trajectory> micro_batch : micro_batches) {
    const ScorePass pass(model_, states_of(micro_batch), std::nullopt, config_.batch.share_prompts);
    auto score = pass.scores().begin();
    for (const Trajectory& trajectory : micro_batch) {
      Expected& expected = expected_[{trajectory.group, trajectory.sample}];
      const auto end = score + trajectory.completion_tokens();
      expected.values.assign(score, end);
      score = end;
      const std::vector<double> rewards = token_rewards(trajectory.reward, old(trajectory), reference(trajectory), config_.loss.kl, kl_coef);
      TokenReturns ahead = generalised_advantages(rewards, expected.values, config_.critic.gamma, config_.critic.lambda);
      expected.advantages = std::move(ahead.advantages);
      expected.returns = std::move(ahead.returns);
    }
  }
  finish_expectations();
}

void Critic::finish_expectations() {
  std::array<double, 7> sums = {};  // count; sums and sums of squares of advantages, returns, and returns less values
  for (const auto& [key, expected] : expected_) {
    for (std::size_t t = 0; t < expected.values.size(); ++t) {
      const double error = expected.returns[t] - expected.values[t];
      const std::array<double, 3> numbers = {expected.advantages[t], expected.returns[t], error};
      sums[0] += 1;
      for (std::size_t k = 0; k < numbers.size(); ++k) {
        sums[1 + 2 * k] += numbers[k];
        sums[2 + 2 * k] += numbers[k] * numbers[k];
      }
    }
  }
  communicator_.all_reduce_sum(std::span<double>(sums), "advantages of a step");
  const auto spread = [&](std::size_t k) { return sums[2 + 2 * k] - sums[1 + 2 * k] * sums[1 + 2 * k] / std::max(1.0, sums[0]); };
  explained_variance_ = spread(1) > 0 ? 1 - spread(2) / spread(1) : 0;
  if (!config_.critic.whiten) return;
  const Whitening white = whitening(sums[0], sums[1], sums[2]);
  for (auto& [key, expected] : expected_) {
    for (double& advantage : expected.advantages) advantage = (advantage - white.mean) * white.scale;
  }
}

std::vector<double> Critic::advantages(std::span<const Trajectory> micro_batch) const {
  std::vector<double> all;
  for (const Trajectory& trajectory : micro_batch) {
    const std::vector<double>& part = expected_of(trajectory).advantages;
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

void Critic::train_micro_batch(std::span<const Trajectory> micro_batch, std::span<const double> weights) {
  if (micro_batch.empty() && !gradients_.in_step()) return;
  ScorePass pass(model_, states_of(micro_batch), recompute_, config_.batch.share_prompts);
  const std::vector<double> values(pass.scores().begin(), pass.scores().end());
  std::vector<double> old_values, returns;
  for (const Trajectory& trajectory : micro_batch) {
    const Expected& expected = expected_of(trajectory);
    old_values.insert(old_values.end(), expected.values.begin(), expected.values.end());
    returns.insert(returns.end(), expected.returns.begin(), expected.returns.end());
  }
  const ValueLoss result = value_loss(values, old_values, returns, weights, config_.critic.clip_value);
  loss_ += result.loss;
  clipped_ += result.clipped;
  tokens_ += static_cast<std::int64_t>(values.size());
  pass.backward(result.grad_values, gradients_);
}

OptimizerStep Critic::update(std::int64_t step) {
  OptimizerStep result = gradients_.step(step, nullptr);
  gradients_.clear();
  if (result.skipped) result.bad_tensor = "the critic's " + result.bad_tensor;
  return result;
}

CriticNumbers Critic::numbers() {
  std::array<double, 3> sums = {loss_, static_cast<double>(clipped_), static_cast<double>(tokens_)};
  communicator_.all_reduce_sum(std::span<double>(sums), "critic numbers");
  return {sums[0], sums[1] / std::max(1.0, sums[2]), explained_variance_};
}

Parameters fresh_critic(const Config& config, const Parameters& start) {
  const std::string& path = config.critic.path;
  const std::uint64_t seed = seed_for(config.run.seed, Stream::kCritic);
  if (path.empty()) return with_score(start, seed);
  const Architecture architecture = read_architecture(path);
  if (architecture.vocabulary != start.architecture().vocabulary) {
    throw ConfigError("critic.path = " + path + ": expected a model with the policy's vocabulary of " +
                      std::to_string(start.architecture().vocabulary) + " tokens, found " + std::to_string(architecture.vocabulary));
  }
  return architecture.scores ? load_reward_model(path, at::kFloat) : with_score(load_parameters(path, at::kFloat), seed);
}

}  // namespace troupe
