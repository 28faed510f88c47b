#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "common/model/kernels/kernels.h"

// bf16 and fp32 numbers in accesses of 8 and 16 bytes.

namespace troupe::cuda {

__device__ __forceinline__ float to_float(Bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

__device__ __forceinline__ Bf16 to_bf16(float x) { return {__bfloat16_as_ushort(__float2bfloat16_rn(x))}; }

struct alignas(8) Four {
  Bf16 v[4];
};
struct alignas(16) Eight {
  Bf16 v[8];
};
struct alignas(16) FourFloats {
  float v[4];
};

__device__ __forceinline__ Four load4(const Bf16* from) { return *reinterpret_cast<const Four*>(from); }
__device__ __forceinline__ Eight load8(const Bf16* from) { return *reinterpret_cast<const Eight*>(from); }
__device__ __forceinline__ FourFloats load4(const float* from) { return *reinterpret_cast<const FourFloats*>(from); }

/// The sum over a warp, by a fixed tree, in every lane.
__device__ __forceinline__ float sum_of_warp(float x) {
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffU, x, distance);
  return x;
}

inline unsigned blocks_of(std::int64_t items, std::int64_t per_block) { return static_cast<unsigned>((items + per_block - 1) / per_block); }

}  // namespace troupe::cuda
