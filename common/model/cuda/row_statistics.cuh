#pragma once

#include <cstdint>

#include <cuda_runtime.h>

// What one row of fp32 logits says of its distribution at a temperature, for the learner and the sampler alike. A row is cut into
// chunks of kLogitChunk logits, counted from its beginning; a block of kChunkThreads threads reduces a chunk in a fixed order,
// and the chunks are combined in theirs: so the bits depend on the row's logits and the temperature alone.

namespace troupe::cuda {

inline constexpr int kLogitChunk = 4096;
inline constexpr int kChunkThreads = 256;

/// Of a chunk's tempered logits z: their maximum, the sum of e^(z - max), and that of e^(z - max) (z - max).
struct LogitPartial {
  float max;
  float sum;
  float weighted;
};

/// lse = log(sum e^z) of a row; entropy in nats. The log-probability of token v is tempered(logits[v], …) - lse.
struct RowSummary {
  float lse;
  float entropy;
};

inline __host__ __device__ std::int64_t logit_chunks(std::int64_t vocabulary) {
  return (vocabulary + kLogitChunk - 1) / kLogitChunk;
}

/// z of a logit. `inverse_temperature` is 1.0f / temperature.
inline __device__ float tempered(float logit, float inverse_temperature) { return __fmul_rn(logit, inverse_temperature); }

/// e^x for x <= 0, by the hardware's power of two.
inline __device__ float exp_of(float x) { return exp2f(__fmul_rn(x, 1.4426950408889634f)); }

namespace row_statistics {

inline constexpr float kMinusInfinity = -__builtin_inff();
inline constexpr int kWarps = kChunkThreads / 32;
inline constexpr int kVectors = kLogitChunk / (4 * kChunkThreads);

/// Four logits from `first` on; those from `count` on are minus infinity.
inline __device__ float4 load_upto(const float* logits, int first, int count, bool aligned) {
  if (aligned && first + 4 <= count) return *reinterpret_cast<const float4*>(logits + first);
  const auto at = [&](int i) { return first + i < count ? logits[first + i] : kMinusInfinity; };
  return {at(0), at(1), at(2), at(3)};
}

inline __device__ float warp_sum(float value) {
  for (int step = 16; step > 0; step /= 2) value = __fadd_rn(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}

inline __device__ void add_exponential(float z, float base, LogitPartial& partial) {
  const float distance = __fsub_rn(z, base), e = exp_of(distance);
  partial.sum = __fadd_rn(partial.sum, e);
  if (e > 0) partial.weighted = __fmaf_rn(e, distance, partial.weighted);  // 0 * -inf would be NaN
}

}  // namespace row_statistics

/// The partial of logits[0, count), count <= kLogitChunk, in every thread. For a whole block of kChunkThreads threads, which may
/// not diverge.
inline __device__ LogitPartial chunk_partial(const float* logits, int count, float inverse_temperature) {
  using namespace row_statistics;
  __shared__ float maxima[kWarps], sums[kWarps], weighted[kWarps];
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const bool aligned = reinterpret_cast<std::uintptr_t>(logits) % sizeof(float4) == 0;

  float4 z[kVectors];
  float top = kMinusInfinity;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const float4 raw = load_upto(logits, 4 * (i * kChunkThreads + thread), count, aligned);
    z[i] = {tempered(raw.x, inverse_temperature), tempered(raw.y, inverse_temperature), tempered(raw.z, inverse_temperature),
            tempered(raw.w, inverse_temperature)};
    top = fmaxf(top, fmaxf(fmaxf(z[i].x, z[i].y), fmaxf(z[i].z, z[i].w)));
  }
  for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, step));
  __syncthreads();  // an earlier call's shared values are read
  if (thread % 32 == 0) maxima[warp] = top;
  __syncthreads();
  for (int i = 0; i < kWarps; ++i) top = fmaxf(top, maxima[i]);

  LogitPartial own{top, 0.0f, 0.0f};
  const float base = top == kMinusInfinity ? 0.0f : top;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    add_exponential(z[i].x, base, own);
    add_exponential(z[i].y, base, own);
    add_exponential(z[i].z, base, own);
    add_exponential(z[i].w, base, own);
  }
  own.sum = warp_sum(own.sum);
  own.weighted = warp_sum(own.weighted);
  if (thread % 32 == 0) {
    sums[warp] = own.sum;
    weighted[warp] = own.weighted;
  }
  __syncthreads();
  LogitPartial all{top, 0.0f, 0.0f};
  for (int i = 0; i < kWarps; ++i) {
    all.sum = __fadd_rn(all.sum, sums[i]);
    all.weighted = __fadd_rn(all.weighted, weighted[i]);
  }
  return all;
}

/// A row's summary from its chunks' partials, by one thread: partial(c) is chunk c's.
template <typename Partial>
inline __device__ RowSummary summary_of(std::int64_t chunks, const Partial& partial) {
  float top = row_statistics::kMinusInfinity;
  for (std::int64_t c = 0; c < chunks; ++c) top = fmaxf(top, partial(c).max);
  float sum = 0, weighted = 0;
  for (std::int64_t c = 0; c < chunks; ++c) {
    const LogitPartial part = partial(c);
    if (part.sum == 0) continue;  // of no probability; what is not a number goes on
    const float distance = __fsub_rn(part.max, top), scale = exp_of(distance);
    sum = __fmaf_rn(scale, part.sum, sum);
    weighted = __fmaf_rn(scale, __fmaf_rn(distance, part.sum, part.weighted), weighted);
  }
  const float log_sum = logf(sum);
  return {__fadd_rn(top, log_sum), __fsub_rn(log_sum, __fdiv_rn(weighted, sum))};
}

}  // namespace troupe::cuda
