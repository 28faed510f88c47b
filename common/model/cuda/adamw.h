#pragma once

#include <ATen/core/Tensor.h>

#include "common/model/adamw_step.h"

// The optimizer's update on a GPU, over contiguous fp32 vectors there. Everything is in a fixed order.

namespace troupe::cuda {

/// Updates the vectors in place, in the order of operations of torch's _single_tensor_adamw; `rounded` (bf16, as long; may be
/// undefined) takes the new masters. `decay_turns` (int64, on the GPU, ascending): what lies before the first decays, from there to the
/// next it does not, and so on.
void adamw_(const at::Tensor& master, const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq, const at::Tensor& gradient,
            const AdamWStep& step, const at::Tensor& decay_turns, const at::Tensor& rounded);

/// On the CPU, in memory that is used again: the sums of squares of each 1024 values, double; not finite where a value is not. The last
/// may be of fewer.
at::Tensor block_squares(const at::Tensor& values);

}  // namespace troupe::cuda
