#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <future>
#include <map>

#include "common/model/gradient_units.h"
#include "common/model/transformer.h"
#include "learner/lora.h"
#include "learner/sharded_optimizer.h"
#include "learner/update_trace.h"

namespace troupe {

/// The gradients of an update on their way from backward passes to the optimizer. At ZeRO stage 1 each rank holds all of them and they
/// are summed over the ranks at the update; at stages 2 and 3 a unit is held from its first gradient to its last in a pass, then summed
/// over the ranks while the pass goes on, and only this rank's slice of the sum stays. So at those stages every rank runs the same
/// number of backward passes (an empty one where it has no micro-batch). Of adapters only their own small gradients are kept, at
/// stages 2 and 3 projected a unit at a time; so are those of a part of a model, as the whole's, zero where other ranks have their parts.
/// One thread at a time.
class StepGradients final : public GradientUnits {
 public:
  /// Refers to all of them; `lora` may be null.
  StepGradients(const Transformer& model, ShardedOptimizer& optimizer, const LoraAdapters* lora, int zero_stage);
  ~StepGradients() override;

  void clear();
  at::Tensor unit(std::int64_t number) override;
  void finished(std::int64_t number) override;
  /// Makes the update not finite, as a fault does; before step.
  void spoil();
  /// The update; `trace` (may be null) as traced_step. Collective.
  OptimizerStep step(std::int64_t step, UpdateTrace* trace);

  /// Whether passes of the model are collective, or its gradients are.
  bool in_step() const { return stage_ > 1; }
  /// How many passes this rank goes through where it has `own` to make: where they are collective as many as the rank that has the most.
  /// Collective there.
  std::size_t rounds(std::size_t own) const;

 private:
  struct Sent {
    at::Tensor padded;
    std::shared_future<void> done;
  };
  at::Tensor& open(std::int64_t number);
  /// Of a flat vector of the model that this rank computes with.
  at::Tensor own_unit(const at::Tensor& flat, std::int64_t number) const;
  at::Tensor unpadded(std::int64_t number, const at::Tensor& padded) const;
  /// Whether units are passed on or projected one by one, at the latest at the update.
  bool by_units() const { return in_step() || (lora_ != nullptr && model_.parameters().cut() != nullptr); }
  /// Sums a unit's gradients over the ranks.
  void pass_on(std::int64_t number, const at::Tensor& padded);
  /// Projects a unit's gradients, of the model that this rank computes with, to the adapters'.
  void project(std::int64_t number, const at::Tensor& own);
  /// Waits until at most `left` units are on their way.
  void wait(std::size_t left);

  const Transformer& model_;
  ShardedOptimizer& optimizer_;
  const LoraAdapters* lora_;
  const int stage_;
  const ShardMap map_;                      // of the model
  at::Tensor flat_;                         // stage 1: [total] of the model that this rank computes with
  at::Tensor projected_;                    // [total] of the adapters, where units are passed on
  std::map<std::int64_t, at::Tensor> open_; // units that this pass adds to, padded
  std::deque<Sent> sent_;
};

/// The stage that a configuration comes to: one rank has nothing to share.
int zero_stage_of(const Config& config, const Communicator& communicator);

}  // namespace troupe
