#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include <ATen/core/Tensor.h>

#include "common/collective/communicator.h"

namespace troupe {

/// The optimizer's collectives on the memory of the ranks' GPUs. Every rank calls the same operations in the same order with the
/// same sizes. They run in the order of the current stream; whoever waits for that stream on the CPU calls `wait` first, which has a
/// deadline. Sums add in rank order, as Communicator's.
class DeviceRanks {
 public:
  virtual ~DeviceRanks() = default;

  /// Before the first of some operations: the ranks come together on the CPU, where it is known who is behind. @throws DeviceError.
  virtual void meet() = 0;
  /// This rank's slice [n] of the sum over the ranks of `whole` [size * n], fp32. @throws DeviceError.
  virtual at::Tensor reduce_scatter_sum(const at::Tensor& whole, std::string_view tensor) = 0;
  /// The ranks' `own`, one after the other. @throws DeviceError.
  virtual at::Tensor all_gather(const at::Tensor& own, std::string_view tensor) = 0;
  /// Puts the ranks' `own` into `all` [size * n], behind what the current stream has now and beside what it gets from now on. Whoever calls the
  /// result makes the current stream wait for that; both tensors live until then. @throws DeviceError.
  virtual std::function<void()> start_all_gather(const at::Tensor& own, const at::Tensor& all, std::string_view tensor) = 0;
  /// Until all of them are done. @throws DeviceError naming the first that is not, `deadline.collective_s` after this call.
  virtual void wait() = 0;
};

/// Over NCCL, from this thread's current GPU; null where ranks share one, which NCCL does not take. Collective. @throws DeviceError.
std::unique_ptr<DeviceRanks> nccl_ranks(Communicator& ranks);

}  // namespace troupe
