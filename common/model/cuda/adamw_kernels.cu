#include "common/model/cuda/adamw_kernels.h"

#include <cstdint>

#include "common/model/cuda/elements.cuh"

namespace troupe::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlock = 4 * kThreads;  // values of a sum of squares

/// The same roundings as on a CPU, which has no fused multiply-add here.
__device__ __forceinline__ void update(float& p, float& m, float& v, float g, bool decays, const AdamWStep& s) {
  const float grad = __fmul_rn(g, s.clip);
  m = __fadd_rn(m, __fmul_rn(s.beta1_rest, __fsub_rn(grad, m)));
  v = __fadd_rn(__fmul_rn(v, s.beta2), __fmul_rn(__fmul_rn(s.beta2_rest, grad), grad));
  const float root = __fadd_rn(__fdiv_rn(__fsqrt_rn(v), s.root2), s.eps);
  p = __fsub_rn(decays ? __fmul_rn(p, s.decay) : p, __fdiv_rn(__fmul_rn(s.step_size, m), root));
}

/// Whether elements decay that are asked for in ascending order.
class Decay {
 public:
  __device__ Decay(const DecayTurns& turns, std::int64_t first) : turns_(turns) {
    for (int more = turns.count; more > 0;) {  // of the turns behind passed_, some are at `first` or before it
      const int half = (more + 1) / 2;
      if (__ldg(turns.turns + passed_ + half - 1) <= first) {
        passed_ += half;
        more -= half;
      } else {
        more = half - 1;
      }
    }
    find_next();
  }
  __device__ bool of(std::int64_t element) {
    while (next_ <= element) {
      ++passed_;
      find_next();
    }
    return passed_ % 2 == 0;
  }

 private:
  __device__ void find_next() { next_ = passed_ < turns_.count ? __ldg(turns_.turns + passed_) : INT64_MAX; }
  const DecayTurns& turns_;
  int passed_ = 0;
  std::int64_t next_;
};

/// Slices begin and end anywhere: whole fours that lie at 16 bytes go at once, `shift` elements before the first of them.
__global__ void __launch_bounds__(kThreads) adamw_kernel(float* p, float* m, float* v, const float* g, std::int64_t count, int shift,
                                                         AdamWStep step, DecayTurns turns, Bf16* rounded) {
  const std::int64_t i = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * 4 - shift;
  Decay decay(turns, i);
  if (i >= 0 && i + 4 <= count) {
    FourFloats parameter = load4(p + i), first = load4(m + i), second = load4(v + i);
    const FourFloats gradient = load4(g + i);
    Four low;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      update(parameter.v[j], first.v[j], second.v[j], gradient.v[j], decay.of(i + j), step);
      low.v[j] = to_bf16(parameter.v[j]);
    }
    *reinterpret_cast<FourFloats*>(p + i) = parameter;
    *reinterpret_cast<FourFloats*>(m + i) = first;
    *reinterpret_cast<FourFloats*>(v + i) = second;
    if (rounded != nullptr) *reinterpret_cast<Four*>(rounded + i) = low;
    return;
  }
  for (std::int64_t j = i < 0 ? 0 : i; j < i + 4 && j < count; ++j) {
    update(p[j], m[j], v[j], g[j], decay.of(j), step);
    if (rounded != nullptr) rounded[j] = to_bf16(p[j]);
  }
}

__global__ void __launch_bounds__(kThreads) block_squares_kernel(const float* values, std::int64_t count, double* sums) {
  __shared__ double warps[kThreads / 32];
  const std::int64_t own = std::int64_t{blockIdx.x} * kBlock + 4 * threadIdx.x;
  FourFloats x{};
  if (own + 4 <= count) {
    x = load4(values + own);
  } else {
    for (int i = 0; own + i < count; ++i) x.v[i] = values[own + i];
  }
  double sum = 0;
  for (const float value : x.v) sum += static_cast<double>(value) * static_cast<double>(value);
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, distance);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  double total = 0;
  for (const double warp : warps) total += warp;
  sums[blockIdx.x] = total;
}

}  // namespace

void adamw(float* master, float* exp_avg, float* exp_avg_sq, const float* gradient, std::int64_t count, const AdamWStep& step,
           const DecayTurns& turns, Bf16* rounded, cudaStream_t stream) {
  if (count == 0) return;
  const int shift = static_cast<int>(reinterpret_cast<std::uintptr_t>(master) / sizeof(float) % 4);
  adamw_kernel<<<blocks_of(count + shift, kThreads * 4), kThreads, 0, stream>>>(master, exp_avg, exp_avg_sq, gradient, count, shift, step,
                                                                                turns, rounded);
}

void block_squares(const float* values, std::int64_t count, double* sums, cudaStream_t stream) {
  if (count == 0) return;
  block_squares_kernel<<<blocks_of(count, kBlock), kThreads, 0, stream>>>(values, count, sums);
}

}  // namespace troupe::cuda
