#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "common/model/adamw_step.h"
#include "common/model/kernels/kernels.h"

namespace troupe::cuda {

/// Where weights decay: from each of `turns` [count], ascending, to the next what decays and what does not take turns; what lies before
/// the first decays.
struct DecayTurns {
  const std::int64_t* turns;
  int count;
};

/// Updates elements of master, exp_avg and exp_avg_sq and rounds the new masters to bf16 (`rounded` may be null).
void adamw(float* master, float* exp_avg, float* exp_avg_sq, const float* gradient, std::int64_t count, const AdamWStep& step,
           const DecayTurns& turns, Bf16* rounded, cudaStream_t stream);

/// sums[b] = the sum of squares of values[1024 b, 1024 (b + 1)), in a fixed order; the last may be shorter.
void block_squares(const float* values, std::int64_t count, double* sums, cudaStream_t stream);

}  // namespace troupe::cuda
