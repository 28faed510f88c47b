#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/model/parameters.h"
#include "learner/shard_map.h"
#include "learner/shard_ranks.h"

namespace troupe {

/// What an update did; the same on every rank.
struct OptimizerStep {
  double grad_norm = 0;  // of the summed gradient before clipping; not finite where skipped
  double lr = 0;
  bool clipped = false;
  bool skipped = false;    // the gradient was not finite: nothing changed
  std::string bad_tensor;  // where skipped: the first tensor with a non-finite gradient
};

/// AdamW with its state sharded over the learner ranks (ZeRO, Rajbhandari et al. 2020): each rank owns a slice of the flat parameter
/// vector as ShardMap cuts it, in fp32: the master parameters and both moments; tensors may straddle slices. The units are the layout's,
/// or the whole vector on one rank; of a part of a model they are the part's, so that a rank's gradients and parameters are its part's alone.
/// The slices lie where the parameters lie, unless they are offloaded; on GPUs gradients and parameters go between ranks over
/// NCCL, or over the CPU where ranks share a GPU. One thread at a time.
class ShardedOptimizer {
 public:
  /// Starts from `initial` ([total], fp32, on the CPU, laid out as parameters.whole_layout(); the same on every rank) and sets
  /// `parameters` (fp32 or bf16; a shared handle, whole, this rank's slice or its part of a model) to its rounding. Not collective. `total_steps` is for the schedule.
  /// `offload`: the slices lie on the CPU and are updated there, wherever the parameters lie.
  ShardedOptimizer(Parameters parameters, const at::Tensor& initial, const OptimizerConfig& config,
                   std::int64_t total_steps, const ShardRanks& ranks, bool offload = false);

  /// One update, from this rank's `gradients` (fp32, laid out as the parameters that it computes with, zero in the alignment gaps, untouched):
  /// sum over the
  /// ranks in rank order; global L2 norm; clipping as torch's clip_grad_norm_ (g *= min(1, clip_norm / (norm + 1e-6)));
  /// AdamW with decoupled decay as torch.optim.AdamW (Loshchilov & Hutter 2019), bias correction in double, weight
  /// decay only on tensors of two or more dimensions (not on norms and biases); then the parameters are rounded to
  /// their dtype (to nearest even) and gathered to every rank. `step` (from 1) fixes the learning rate alone. A
  /// gradient with a NaN or an infinity changes nothing on any rank. Collective. Given the same summed gradient the
  /// result has the same bits on any number of ranks. @throws DeviceError.
  OptimizerStep step(const at::Tensor& gradients, std::int64_t step);

  /// The same in parts, so that nobody need hold all gradients: first clear_sum, then any number of times add_to_sum for a unit of the
  /// map, then update, which is `step` of the sum. `padded` is a unit's gradients from its origin on ([unit.padded()], fp32, zero
  /// where the unit is not; destroyed). Whoever waits for a GPU in between calls settle first, which has a deadline. All but clear_sum and
  /// settle are collective.
  void clear_sum();
  void add_to_sum(std::size_t unit, const at::Tensor& padded);
  void settle() { devices_.settle(); }
  OptimizerStep update(std::int64_t step);

  const ShardMap& map() const { return map_; }
  /// This rank's slice of the flat vector: [slice] fp32, zero in the padding.
  const at::Tensor& master() const { return master_; }
  const at::Tensor& exp_avg() const { return exp_avg_; }
  const at::Tensor& exp_avg_sq() const { return exp_avg_sq_; }
  /// The last step's summed gradient before clipping. Of one rank that does not offload it is `step`'s argument itself, without the padding.
  const at::Tensor& gradient() const { return reduced_; }
  std::int64_t slice() const { return map_.slice(); }
  /// Of what is trained, whole, whatever this rank computes with.
  const ParameterLayout& layout() const { return parameters_.whole_layout(); }
  std::int64_t total() const { return layout().total; }
  /// Updates applied, skipped ones not counted: t of Adam's bias correction.
  std::int64_t updates() const { return updates_; }
  const Parameters& parameters() const { return parameters_; }
  Communicator& communicator() const { return communicator_; }

  /// Puts a state back, of this rank's slice (on any device), and sets the parameters. Collective.
  void restore(const at::Tensor& master, const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq, std::int64_t updates);

  /// The whole logical vector [total] of which each rank gives its slice: on rank 0's CPU, an undefined tensor on the others.
  /// Collective.
  at::Tensor gather(const at::Tensor& slice, std::string_view name);

 private:
  struct Segment {  // of one tensor, within the slice
    std::int64_t begin;
    std::int64_t end;
    bool decay;
  };
  void sum_over_ranks(const at::Tensor& gradients);
  /// This rank's part of a padded unit's sum, in `part`, which may be on a GPU.
  void reduce_scatter(const ShardMap::Unit& unit, const at::Tensor& padded, const at::Tensor& part);
  /// What several ranks have of the summed gradient of a part of a model, the norms of its blocks, summed over them: they each have a term.
  /// From now on the first of them alone has it in its slice, until set_repeated, so that the norm counts it once. Collective.
  at::Tensor sum_repeated();
  void set_repeated(const at::Tensor& values);
  /// The `part` of a unit of each of `ranks`, one behind the other, on the CPU; valid until the next collective.
  at::Tensor gather_parts(const at::Tensor& part, Communicator& ranks, std::string_view name);
  /// A padded unit of this rank's parameters, of those who share it out.
  at::Tensor gather_unit(const ShardMap::Unit& unit, const at::Tensor& part);
  /// Puts a unit of which each rank has its part into a whole vector.
  void put_unit_(std::size_t number, const at::Tensor& parts, const at::Tensor& whole) const;
  /// Of each block of 1024 elements of this rank's slice.
  at::Tensor squares_of_blocks() const;
  double global_norm();
  std::string first_bad_tensor();
  /// Where the slice's segments that decay and those that do not take turns; the first ones decay.
  std::vector<std::int64_t> decay_turns() const;
  void update_slice(double lr, float clip);
  /// Whether this rank's slice is all there is, where the parameters lie: nothing is copied then.
  bool alone() const { return communicator_.size() == 1 && master_.device() == parameters_.flat().device(); }
  /// Whether the update also rounds the parameters; adapters are fp32, and copied like the slices of several ranks.
  bool rounds() const { return alone() && parameters_.flat().scalar_type() == at::kBFloat16; }
  /// As ShardDevices::of; null for parameters on the CPU.
  DeviceRanks* devices_of(const ShardMap::Unit& unit);
  void publish_parameters();

  Parameters parameters_;
  OptimizerConfig config_;
  std::int64_t total_steps_;
  ShardRanks ranks_;
  Communicator& communicator_;  // all of them
  ShardMap map_;
  ShardDevices devices_;
  std::int64_t updates_ = 0;
  std::vector<Segment> segments_, repeated_;
  at::Tensor master_, exp_avg_, exp_avg_sq_, reduced_;  // [slice]
  at::Tensor decay_turns_;                              // on a GPU
  at::Tensor scratch_;                                  // of collectives on the CPU: the largest unit of all ranks, fp32
};

}  // namespace troupe
