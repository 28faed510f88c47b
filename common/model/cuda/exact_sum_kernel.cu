#include "common/model/cuda/exact_sum_kernel.h"

#include <algorithm>

#include "common/model/cuda/elements.cuh"

namespace troupe::cuda {
namespace {

constexpr int kThreads = 256, kMostBlocks = 128;
constexpr int kLimbs = kExactLimbs;

using Limb = unsigned long long;  // the type that CUDA's atomics take

/// Each block adds up its own limbs first.
__global__ void __launch_bounds__(kThreads) add_exactly_kernel(const double* values, std::int64_t count, Limb* limbs) {
  __shared__ Limb own[kLimbs + 1];
  for (int i = static_cast<int>(threadIdx.x); i <= kLimbs; i += kThreads) own[i] = 0;
  __syncthreads();
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += std::int64_t{gridDim.x} * kThreads) {
    const auto bits = static_cast<Limb>(__double_as_longlong(values[i]));
    const Limb exponent = bits >> 52 & 0x7FF, fraction = bits & 0xFFFFFFFFFFFFFULL;
    if (exponent == 0x7FF) {
      atomicOr(&own[kLimbs], fraction == 0 ? 1ULL : 2ULL);
      continue;
    }
    const Limb mantissa = exponent > 0 ? fraction | 1ULL << 52 : fraction, place = exponent > 0 ? exponent - 1 : 0;
    const int limb = static_cast<int>(place / 32), shift = static_cast<int>(place % 32);
    const Limb low = mantissa << shift, high = shift == 0 ? 0 : mantissa >> (64 - shift);
    if (mantissa == 0) continue;
    atomicAdd(&own[limb], low & 0xFFFFFFFFULL);
    atomicAdd(&own[limb + 1], low >> 32);
    if (high != 0) atomicAdd(&own[limb + 2], high);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kLimbs; i += kThreads) {
    if (own[i] != 0) atomicAdd(&limbs[i], own[i]);
  }
  if (threadIdx.x == 0 && own[kLimbs] != 0) atomicOr(&limbs[kLimbs], own[kLimbs]);
}

}  // namespace

void add_exactly(const double* values, std::int64_t count, std::uint64_t* limbs, cudaStream_t stream) {
  if (count == 0) return;
  const unsigned blocks = std::min<unsigned>(blocks_of(count, kThreads), kMostBlocks);
  add_exactly_kernel<<<blocks, kThreads, 0, stream>>>(values, count, reinterpret_cast<Limb*>(limbs));
}

}  // namespace troupe::cuda
