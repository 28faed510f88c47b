#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include "common/collective/communicator.h"
#include "common/model/parameters.h"
#include "common/model/tensor_cut.h"
#include "learner/shard_map.h"
#include "learner/shard_ranks.h"

namespace troupe {

/// How the slices of a unit come together where they lie.
class UnitGatherer {
 public:
  virtual ~UnitGatherer() = default;
  /// Puts the `own` of the ranks that share out `unit` into `all` [unit.padded()], perhaps beside the caller; whoever calls the result waits
  /// for it, or has what is enqueued on the GPU from then on wait. Collective among them.
  virtual std::function<void()> start(const ShardMap::Unit& unit, const at::Tensor& own, const at::Tensor& all) = 0;
  /// ParameterUnits::settle.
  virtual void settle() {}
};

/// On the CPU: beside the caller where the communicator runs there. On a GPU: beside the kernels, by NCCL, or over the CPU where ranks share
/// a GPU, at once. Refers to the communicators. Collective the first time that it is used.
std::unique_ptr<UnitGatherer> unit_gatherer(at::Device device, const ShardRanks& ranks);

/// Parameters of which each rank has its slice (ZeRO stage 3, Rajbhandari et al. 2020): a unit is gathered when it is asked for, and the
/// next one meanwhile; one that nobody else has a part of is in the slice. Three units are held at once. Writing to the slice by ATen's
/// operations lets go of them.
class GatheredUnits final : public ParameterUnits {
 public:
  /// `slice` [map.slice()] is this rank's, shared with whoever trains it.
  GatheredUnits(ShardMap map, at::Tensor slice, std::unique_ptr<UnitGatherer> gatherer);

  at::Tensor take(std::int64_t number, std::int64_t next) override;
  void settle() override { gatherer_->settle(); }

 private:
  struct Held {
    std::int64_t number = -1;
    std::uint64_t taken = 0;  // when, in calls
    at::Tensor padded;
    std::function<void()> arrive;  // empty: it is there
  };
  static void await(Held& held);
  Held* find(std::int64_t number);
  Held& fetch(std::int64_t number);
  void let_go();

  ShardMap map_;
  at::Tensor slice_;
  std::unique_ptr<UnitGatherer> gatherer_;
  std::array<Held, 3> held_;
  std::uint64_t calls_ = 0;
  std::uint32_t version_ = 0;  // of the slice that the units are of
};

/// Parameters of a model, or of a rank's part of one, for stage 3: this rank's slice, zeros of `dtype` on `device`, gathered over `ranks`,
/// which must outlive them.
Parameters sharded_parameters(const Architecture& architecture, at::ScalarType dtype, const ShardRanks& ranks, at::Device device = at::kCPU);
Parameters sharded_parameters(std::shared_ptr<const TensorCut> cut, at::ScalarType dtype, const ShardRanks& ranks,
                              at::Device device = at::kCPU);

/// Parameters of a whole model as one tensor [total] in their dtype on rank 0's CPU, undefined on the others; those that each rank has
/// whole are themselves, on every rank. Collective.
at::Tensor whole_of(const Parameters& parameters, const Communicator& communicator);

/// Sets `to` to `from`, of the same model, both this rank's: slices, or parts or whole ones, which `to` may be where `from` is a slice.
/// Collective.
void copy_(const Parameters& from, const Parameters& to);

/// Sets `parameters` to `whole` ([total] of the whole model, any dtype, the same on every rank), or to this rank's slice or part of it.
/// Not collective.
void set_from_whole_(const Parameters& parameters, const at::Tensor& whole, const Communicator& communicator);

}  // namespace troupe
