#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "common/model/kernels/kernels.h"

// The optimizer's update on a GPU, over slices of the flat fp32 vectors. Everything is in a fixed order.

namespace troupe::cuda {

/// The constants of one AdamW update.
struct AdamWStep {
  float decay;       // 1 - lr * weight_decay
  float clip;        // factor of the gradient
  float beta1_rest;  // 1 - beta1
  float beta2;
  float beta2_rest;  // 1 - beta2
  float step_size;   // lr / (1 - beta1^t)
  float root2;       // sqrt(1 - beta2^t)
  float eps;
};

/// Updates elements of master, exp_avg and exp_avg_sq (in the order of operations of torch's _single_tensor_adamw) and rounds the
/// new masters to bf16.
void adamw(float* master, float* exp_avg, float* exp_avg_sq, const float* gradient, std::int64_t count, const AdamWStep& step,
           Bf16* rounded, cudaStream_t stream);

/// sums[b] = the sum of squares of values[1024 b, 1024 (b + 1)), in double; not finite where a value is not. The last may be shorter.
void block_squares(const float* values, std::int64_t count, double* sums, cudaStream_t stream);

}  // namespace troupe::cuda
