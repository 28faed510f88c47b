#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <future>
#include <vector>

#include "common/collective/communicator.h"
#include "common/model/parameters.h"
#include "learner/shard_map.h"

namespace troupe {

/// Parameters of which each rank has its slice on the CPU (ZeRO stage 3, Rajbhandari et al. 2020): a unit is gathered when it is asked
/// for, and the next one meanwhile where the communicator runs beside its caller. Three units are held at once. Writing to the slice by
/// ATen's operations lets go of them.
class GatheredUnits final : public ParameterUnits {
 public:
  /// Refers to the communicator; `slice` [map.slice()] is this rank's, shared with whoever trains it.
  GatheredUnits(ShardMap map, at::Tensor slice, Communicator& communicator);
  ~GatheredUnits() override;

  at::Tensor take(std::int64_t number, std::int64_t next) override;

 private:
  struct Held {
    std::int64_t number = -1;
    std::uint64_t taken = 0;  // when, in calls
    at::Tensor padded;
    std::shared_future<void> arrival;
  };
  Held* find(std::int64_t number);
  Held& fetch(std::int64_t number);
  void let_go();

  ShardMap map_;
  at::Tensor slice_;
  Communicator& communicator_;
  std::array<Held, 3> held_;
  std::uint64_t calls_ = 0;
  std::uint32_t version_ = 0;  // of the slice that the units are of
};

/// Parameters of a model for stage 3: this rank's slice, zeros of `dtype`, gathered over `communicator`, which must outlive them.
Parameters sharded_parameters(const Architecture& architecture, at::ScalarType dtype, Communicator& communicator);

/// Parameters of a whole model as one tensor [total] in their dtype on rank 0's CPU, undefined on the others; those that each rank has
/// whole are themselves, on every rank. Collective.
at::Tensor whole_of(const Parameters& parameters, const Communicator& communicator);

/// Sets `parameters` to `whole` ([total] of the whole model, any dtype, the same on every rank), or to this rank's slice or part of it.
/// Not collective.
void set_from_whole_(const Parameters& parameters, const at::Tensor& whole, const Communicator& communicator);

}  // namespace troupe
