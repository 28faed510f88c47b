#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/model/transformer.h"
#include "learner/adam_state.h"
#include "learner/objective/trajectory.h"
#include "learner/sharded_optimizer.h"
#include "learner/step_gradients.h"

namespace troupe {

/// What the critic did in a step, over all ranks; the same on every rank.
struct CriticNumbers {
  double loss = 0;                // value_loss (gae.h), summed over the step's updates
  double clip_share = 0;          // of the tokens, where the clipped error counted
  double explained_variance = 0;  // of the returns, by the values before the step: 1 at best, 0 for a constant
};

/// PPO's value function (Schulman et al. 2017, arXiv:1707.06347; for language models Stiennon et al. 2020, Ouyang et al. 2022): a
/// reward model whose score of the text before a token is the value of going on from there. A model and an optimizer of its own beside
/// the policy's. Methods that say so are collective: every rank calls them with its part of the same step. One thread at a time.
class Critic {
 public:
  /// The log-probabilities of a trajectory's completion tokens; empty where there are none.
  using Logprobs = std::function<std::span<const float>(const Trajectory&)>;

  /// Changes `parameters` (a reward model's, of the compute type; a shared handle; whole, a slice or a part) from `initial` on (fresh_critic).
  /// Not collective.
  Critic(const Config& config, Parameters parameters, const Parameters& initial, const ShardRanks& ranks);

  /// Values and generalised advantages (gae.h) of every completion of this rank's part of a step, whitened over the step of all ranks
  /// where critic.whiten says so; loss.kl_in = reward charges the KL of `old` to `reference`. Collective.
  void look_ahead(const StepPlan& plan, const Logprobs& old, const Logprobs& reference);

  /// The advantages of a micro-batch's completion tokens, one after the other.
  std::vector<double> advantages(std::span<const Trajectory> micro_batch) const;

  /// Adds the gradient of the value loss with the tokens' weights (as the policy's). Collective where StepGradients says so of passes, and then
  /// called as often on every rank, with nothing where it has no micro-batch.
  void train_micro_batch(std::span<const Trajectory> micro_batch, std::span<const double> weights);
  /// One AdamW update of what was added since the last. Collective.
  OptimizerStep update(std::int64_t step);
  /// Of the step since look_ahead. Collective.
  CriticNumbers numbers();

  /// Collective. The state on rank 0, undefined tensors on the others.
  AdamState state() { return whole_state(optimizer_); }
  /// Collective; the whole state on every rank.
  void restore(const AdamState& state) { restore_(optimizer_, state); }
  std::int64_t total() const { return optimizer_.total(); }

 private:
  struct Expected {  // one a completion token
    std::vector<double> values;
    std::vector<double> advantages;
    std::vector<double> returns;
  };
  using Key = std::pair<std::uint64_t, std::uint32_t>;  // group and sample

  /// Advantages to mean 0 and deviation 1, and the share of the returns' variance that the values explain. Collective.
  void finish_expectations();
  const Expected& expected_of(const Trajectory& trajectory) const { return expected_.at({trajectory.group, trajectory.sample}); }

  const Config& config_;
  Communicator& communicator_;  // of the ranks that each train data of their own
  Transformer model_;
  ShardedOptimizer optimizer_;
  StepGradients gradients_;
  Recompute recompute_;
  std::map<Key, Expected> expected_;  // of the step
  double loss_ = 0;                   // of this rank, as the next two
  std::int64_t clipped_ = 0;
  std::int64_t tokens_ = 0;
  double explained_variance_ = 0;
};

/// What a run's critic starts from, fp32: the reward model in critic.path; else the language model there, or the run's own start, with
/// a fresh score. @throws ConfigError where its vocabulary is not the policy's.
Parameters fresh_critic(const Config& config, const Parameters& start);

}  // namespace troupe
