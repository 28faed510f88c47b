#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/model/parameters.h"
#include "common/model/transformer.h"
#include "learner/sharded_optimizer.h"
#include "learner/stages/reward_rows.h"
#include "learner/update_trace.h"

namespace troupe {

class ScorePass;

/// The numbers of a set of examples, all ranks together.
struct RewardNumbers {
  double loss = 0;      // mean of margin_loss over the examples
  double accuracy = 0;  // share whose margin is above 0
  double margin = 0;    // mean: chosen's score less rejected's, or the judged text's score times its sign
};

struct RewardStep {
  RewardNumbers numbers;
  OptimizerStep update;
};

/// Trains a reward model. Every method is collective; rank r is given its own part of the examples. One thread at a time.
class RewardTrainer {
 public:
  /// Changes `parameters` (a reward model's, of the compute type; a shared handle) from `initial` on ([total], fp32).
  RewardTrainer(Parameters parameters, const at::Tensor& initial, const Config& config, Communicator& communicator);

  /// One AdamW update on the mean loss of a step's `total` examples, of which this rank has `own`. `trace` (may be null) gets what
  /// it was computed from. @throws DeviceError.
  RewardStep step(std::int64_t number, std::span<const RewardExample> own, std::int64_t total, UpdateTrace* trace);

  /// The same numbers without an update.
  RewardNumbers evaluate(std::span<const RewardExample> own, std::int64_t total);

  ShardedOptimizer& optimizer() { return optimizer_; }

 private:
  /// Calls `use` with each micro-batch's pass (of batch.micro_tokens tokens, or of one example) and its dL/dscore, and adds up the
  /// numbers.
  RewardNumbers run(std::span<const RewardExample> own, std::int64_t total, bool keep,
                    const std::function<void(ScorePass& pass, std::span<const double> grads)>& use);

  Transformer model_;
  ShardedOptimizer optimizer_;
  std::int64_t micro_tokens_;
  Communicator& communicator_;
  at::Tensor gradients_;
  Recompute recompute_;
};

}  // namespace troupe
