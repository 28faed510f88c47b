#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/model/transformer.h"
#include "learner/critic.h"
#include "learner/lora.h"
#include "learner/objective/policy_loss.h"
#include "learner/objective/sampler_mismatch.h"
#include "learner/objective/trajectory.h"
#include "learner/sharded_optimizer.h"
#include "learner/step_gradients.h"
#include "learner/update_trace.h"

namespace troupe {

/// What a step did, over all ranks and updates.
struct TrainStats {
  double loss = 0;       // summed over the step's updates
  double grad_norm = 0;  // of the last update, before clipping
  double lr = 0;
  double entropy_sum = 0;
  SamplerMismatch mismatch;  // of the first update
  std::int64_t updates = 0;
  std::int64_t skipped = 0;  // updates left out because a gradient was not finite
  std::string bad_tensor;    // where skipped: the first tensor whose gradient was not finite
  PolicyMetrics policy;
  std::optional<CriticNumbers> critic;  // where there is one
  double collective_wait_s = 0;         // of this rank: what the step waited for others
};

/// One learner rank's part of a GRPO step: forward, policy loss and backward over its micro-batches, then the sharded
/// optimizer. Collective: every rank calls `train` with its part of the same step. One thread at a time.
class Trainer {
 public:
  /// `model` shares its parameters with the optimizer, unless that trains the adapters `lora`; `reference` may be null where no KL
  /// is asked for, and lie elsewhere than the model. With a `critic` the advantages are its own, and it is trained beside the policy.
  Trainer(const Config& config, Transformer& model, const Transformer* reference, ShardedOptimizer& optimizer,
          Communicator& communicator, const LoraAdapters* lora = nullptr, Critic* critic = nullptr,
          Recompute recompute = Recompute::kNone);

  /// Trains the step's updates in order. `phase` is told what the rank is doing. In exact mode at max_lag 0 the first update's
  /// log-probabilities must be the sampler's bits: @throws DeviceError naming the first token where they are not. Not so for a
  /// `recorded` step: on another number of ranks its weights have other bits than those that the sampler had.
  /// `traces`, where given, gets this rank's part of each update that trained (joined() makes the whole).
  TrainStats train(const StepPlan& plan, const std::function<void(const std::string&)>& phase,
                   std::vector<UpdateTrace>* traces = nullptr, bool recorded = false);

 private:
  using TokenKey = std::pair<std::uint64_t, std::uint32_t>;  // group and sample
  using FrozenLogprobs = std::map<TokenKey, std::vector<float>>;

  double train_micro_batch(const std::vector<Trajectory>& micro_batch, const UpdateShard& update, bool first_update,
                           TrainStats& stats, UpdateTrace* trace);
  FrozenLogprobs frozen_logprobs(const Transformer& model, const StepPlan& plan) const;
  /// Of the reference, brought to where the model computes if it lies elsewhere.
  FrozenLogprobs reference_logprobs(const StepPlan& plan) const;
  void require_exact(const std::vector<Trajectory>& micro_batch, std::span<const float> logp,
                     std::span<const float> sampler_logp) const;
  void combine_over_ranks(TrainStats& stats);
  void look_ahead(const StepPlan& plan);

  const Config& config_;
  Transformer& model_;
  const Transformer* reference_;
  ShardedOptimizer& optimizer_;
  Communicator& communicator_;
  Critic* critic_;
  Recompute recompute_;
  StepGradients gradients_;
  const bool exact_;
  bool assert_exact_ = true;  // in the present step
  FrozenLogprobs old_logprobs_;  // of this step, where they are not the sampler's
  FrozenLogprobs reference_logprobs_;
};

}  // namespace troupe
