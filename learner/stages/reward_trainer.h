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
#include "learner/step_gradients.h"
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

/// Trains a reward model. Every method is collective; each of the ranks that train data of their own is given its part of the examples. One
/// thread at a time.
class RewardTrainer {
 public:
  /// Changes `parameters` (a reward model's, of the compute type; a shared handle; whole, a slice or a part) from `initial` (fp32, whole) on.
  RewardTrainer(Parameters parameters, const Parameters& initial, const Config& config, const ShardRanks& ranks);

  /// One AdamW update on the mean loss of a step's `total` examples, of which this rank has `own`. `trace` (may be null) gets what
  /// it was computed from. @throws DeviceError.
  RewardStep step(std::int64_t number, std::span<const RewardExample> own, std::int64_t total, UpdateTrace* trace);

  /// The same numbers without an update.
  RewardNumbers evaluate(std::span<const RewardExample> own, std::int64_t total);

  ShardedOptimizer& optimizer() { return optimizer_; }

 private:
  /// Calls `use` with each micro-batch's pass (of batch.micro_tokens tokens, or of one example; of nothing where passes are collective and
  /// other ranks have more) and its dL/dscore, and adds up the numbers.
  RewardNumbers run(std::span<const RewardExample> own, std::int64_t total, bool keep,
                    const std::function<void(ScorePass& pass, std::span<const double> grads)>& use);

  Transformer model_;
  ShardedOptimizer optimizer_;
  std::int64_t micro_tokens_;
  Communicator& communicator_;  // of the ranks that each train data of their own
  StepGradients gradients_;
  Recompute recompute_;
};

}  // namespace troupe
