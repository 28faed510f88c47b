#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/collective/communicator.h"
#include "common/model/transformer.h"
#include "learner/lora.h"
#include "learner/sharded_optimizer.h"
#include "learner/step_gradients.h"
#include "learner/token_pass.h"
#include "learner/update_trace.h"

namespace troupe {

/// A text as ids: a prompt, and what follows it and is learnt.
struct SftExample {
  std::vector<std::int32_t> prompt;
  std::vector<std::int32_t> completion;
  std::vector<char> trained = {};  // 1 for each completion token that is learnt, 0 for one that is only read; empty: all are
};

/// What a step takes as one and never splits: a row of SFT, a full context of pretraining, the two answers of a preference.
using SupervisedUnit = std::vector<SftExample>;

/// Whole units, one after the other, as the model sees them.
struct SupervisedMicroBatch {
  std::vector<TokenSequence> sequences;
  std::vector<float> weights;  // of the N completion tokens of all sequences: 1 trained, 0 only read
};

/// Sums over a micro-batch.
struct SupervisedLoss {
  std::vector<double> sums;  // one for each of the objective's metrics
  at::Tensor grad_logp_N;    // of sums[0] by the log-probability of each completion token: [N] fp32
};

/// What a supervised stage minimises: the sum of the loss over a step's units, divided by the sum of their weights.
struct SupervisedObjective {
  std::vector<std::string> metrics;                     // their names, the loss first; each a mean over the weights
  std::function<double(const SupervisedUnit&)> weight;  // tokens, or 1 a unit
  /// Given log p of the completion tokens. `trace`, where it is not null, is told what the loss was taken of, which is
  /// to be scaled by `scale`, 1 / the weight of the step.
  std::function<SupervisedLoss(const SupervisedMicroBatch&, const at::Tensor& logp_N, double scale, UpdateTrace* trace)> loss;
};

/// Next-token prediction (SFT, pretraining): the mean of -log p over the trained tokens.
SupervisedObjective next_token_objective();

struct SupervisedOptions {
  std::int64_t batch = 32;           // units a step, over all ranks
  std::int64_t micro_tokens = 4096;  // token budget of one forward and backward of a rank; a larger unit goes alone
  std::function<SupervisedUnit(std::uint64_t number)> unit;  // the one with this number in training order
  SupervisedObjective objective;
  int zero_stage = 1;
  Recompute recompute = Recompute::kNone;
  bool share_prompts = false;  // neighbouring sequences of one prompt read it once
};

/// What a step did, over all ranks.
struct SupervisedStep {
  std::vector<double> means;  // of the objective's metrics
  double weight = 0;          // that they are means over
  std::int64_t tokens = 0;    // that the model read or predicted
  OptimizerStep update;
};

/// A rank's part of supervised training. Step s takes units (s-1) * batch … s * batch - 1, of which rank r takes every size()-th.
/// One thread at a time; borrows everything that it is given.
class SupervisedTrainer {
 public:
  /// `lora` may be null: the optimizer trains the model itself.
  SupervisedTrainer(const Transformer& model, ShardedOptimizer& optimizer, SupervisedOptions options, Communicator& communicator,
                    const LoraAdapters* lora = nullptr);

  /// One update; `trace`, where given (on every rank then), becomes the whole update's. Collective.
  SupervisedStep train(std::int64_t step, UpdateTrace* trace = nullptr);

  /// The means of the objective's metrics over units 0 … units - 1 of `unit`, without training. Collective.
  std::vector<double> evaluate(const std::function<SupervisedUnit(std::uint64_t index)>& unit, std::uint64_t units);

 private:
  SupervisedStep pass(const std::vector<SupervisedUnit>& units, bool backward, UpdateTrace* trace);

  const Transformer& model_;
  ShardedOptimizer& optimizer_;
  SupervisedOptions options_;
  Communicator& communicator_;
  StepGradients gradients_;
};

/// Whether any rank says so; the same on every rank. Collective.
bool any_rank(bool here, Communicator& communicator);

}  // namespace troupe
