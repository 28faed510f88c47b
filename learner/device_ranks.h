#pragma once

#include <memory>
#include <string_view>

#include <ATen/core/Tensor.h>

#include "common/collective/communicator.h"

namespace troupe {

/// The optimizer's collectives on the memory of the ranks' GPUs. Every rank calls the same operations in the same order with the
/// same sizes; each is done where it returns. Sums add in rank order, as Communicator's.
class DeviceRanks {
 public:
  virtual ~DeviceRanks() = default;

  /// This rank's slice [n] of the sum over the ranks of `whole` [size * n], fp32. @throws DeviceError.
  virtual at::Tensor reduce_scatter_sum(const at::Tensor& whole, std::string_view tensor) = 0;
  /// The ranks' `own`, one after the other. @throws DeviceError.
  virtual at::Tensor all_gather(const at::Tensor& own, std::string_view tensor) = 0;
};

/// Over NCCL, from this thread's current GPU; null where ranks share one, which NCCL does not take. The ranks meet in `ranks` before
/// each operation: its patience knows who is behind. Collective. @throws DeviceError.
std::unique_ptr<DeviceRanks> nccl_ranks(Communicator& ranks);

}  // namespace troupe
