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

/// Eight numbers as the pairs that they are in 32-bit registers.
struct Pairs {
  unsigned words[4];
  Pairs() = default;
  __device__ __forceinline__ explicit Pairs(const Eight& eight) {
    const auto& from = reinterpret_cast<const uint4&>(eight);
    words[0] = from.x;
    words[1] = from.y;
    words[2] = from.z;
    words[3] = from.w;
  }
  __device__ __forceinline__ float low(int pair) const { return __uint_as_float(words[pair] << 16); }
  __device__ __forceinline__ float high(int pair) const { return __uint_as_float(words[pair] & 0xFFFF0000U); }
  __device__ __forceinline__ void set(int pair, float low, float high) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    words[pair] = reinterpret_cast<const unsigned&>(both);
  }
  __device__ __forceinline__ Eight eight() const {
    Eight eight;
    reinterpret_cast<uint4&>(eight) = {words[0], words[1], words[2], words[3]};
    return eight;
  }
};

__device__ __forceinline__ Four load4(const Bf16* from) { return *reinterpret_cast<const Four*>(from); }
__device__ __forceinline__ Eight load8(const Bf16* from) { return *reinterpret_cast<const Eight*>(from); }
/// For what is read last, or is more than the second-level cache holds: it is given up there first.
__device__ __forceinline__ Eight load8_streaming(const Bf16* from) {
  Eight eight;
  reinterpret_cast<uint4&>(eight) = __ldcs(reinterpret_cast<const uint4*>(from));
  return eight;
}
__device__ __forceinline__ void store8_streaming(Bf16* to, const Eight& eight) {
  __stcs(reinterpret_cast<uint4*>(to), reinterpret_cast<const uint4&>(eight));
}
__device__ __forceinline__ FourFloats load4(const float* from) { return *reinterpret_cast<const FourFloats*>(from); }

/// The sum over a warp, by a fixed tree, in every lane.
__device__ __forceinline__ float sum_of_warp(float x) {
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffU, x, distance);
  return x;
}

inline unsigned blocks_of(std::int64_t items, std::int64_t per_block) { return static_cast<unsigned>((items + per_block - 1) / per_block); }

}  // namespace troupe::cuda
