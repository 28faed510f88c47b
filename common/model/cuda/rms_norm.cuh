#pragma once

#include "common/model/cuda/elements.cuh"

// RMSNorm of a row as a block of kNormThreads threads computes it, for the kernels that do: thread t has the elements 4 t to 4 t + 3 of
// every 4 kNormThreads, a warp adds up by a tree, and the warps are added in their order.

namespace troupe::cuda {

inline constexpr int kNormThreads = 256;
inline constexpr int kNormWarps = kNormThreads / 32;

__device__ __forceinline__ float add_squares(const float4& x, float squares) {
  return __fadd_rn(squares, __fmaf_rn(x.w, x.w, __fmaf_rn(x.z, x.z, __fmaf_rn(x.y, x.y, __fmul_rn(x.x, x.x)))));
}

/// From the warps' sums of squares.
__device__ __forceinline__ float inverse_rms_of_row(const float* warps, std::int64_t hidden, float eps) {
  float sum = 0;
  for (int warp = 0; warp < kNormWarps; ++warp) sum = __fadd_rn(sum, warps[warp]);
  return __frcp_rn(__fsqrt_rn(__fadd_rn(__fdiv_rn(sum, static_cast<float>(hidden)), eps)));
}

__device__ __forceinline__ Four normed(const float4& x, float inverse, const Four& weight) {
  return {{to_bf16(x.x * inverse * to_float(weight.v[0])), to_bf16(x.y * inverse * to_float(weight.v[1])),
           to_bf16(x.z * inverse * to_float(weight.v[2])), to_bf16(x.w * inverse * to_float(weight.v[3]))}};
}

}  // namespace troupe::cuda
