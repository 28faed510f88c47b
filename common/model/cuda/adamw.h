#pragma once

#include <ATen/core/Tensor.h>

#include "common/base/exact_sum.h"
#include "common/model/adamw_step.h"

// The optimizer's update on a GPU, over contiguous fp32 vectors there. Everything is in a fixed order.

namespace troupe::cuda {

/// Updates the vectors in place, in the order of operations of torch's _single_tensor_adamw; `rounded` (bf16, as long; may be
/// undefined) takes the new masters. `decay_turns` (int64, on the GPU, ascending): what lies before the first decays, from there to the
/// next it does not, and so on.
void adamw_(const at::Tensor& master, const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq, const at::Tensor& gradient,
            const AdamWStep& step, const at::Tensor& decay_turns, const at::Tensor& rounded);

/// The sums of squares of each 1024 values, double, on the GPU; not finite where a value is not. The last may be of fewer.
at::Tensor block_squares(const at::Tensor& values);

/// Sums of doubles on the GPU, none of them negative.
class ExactGpuSum {
 public:
  ExactGpuSum();
  void add(const at::Tensor& values);
  /// Waits for the GPU.
  ExactSum sum() const;

 private:
  at::Tensor limbs_;  // int64 [kLimbs + 1], as add_exactly's
};

}  // namespace troupe::cuda
