#pragma once

#include <cstdint>

#include <cuda_runtime.h>

// What one row of fp32 logits says of its distribution at a temperature, for the learner and the sampler alike. A row is cut into
// chunks of kLogitChunk logits, counted from its beginning, and these into tiles of kLogitTile, each in four groups of 64 columns of
// which four lanes have the columns 8 j + 2 lane and the next, as the accumulators of Hopper's matrix instructions lie. A lane adds
// its own of a group in order; then groups, lanes, tiles and chunks are combined in a fixed one: so the bits depend on the row's
// logits and the temperature alone.

namespace troupe::cuda {

inline constexpr int kLogitTile = 256;
inline constexpr int kLogitChunk = 4096;
inline constexpr int kChunkThreads = 256;

/// Of a tile's or chunk's tempered logits z: their maximum, the sum of e^(z - max), and that of e^(z - max) (z - max).
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
inline __host__ __device__ std::int64_t logit_tiles(std::int64_t columns) { return (columns + kLogitTile - 1) / kLogitTile; }

/// z of a logit. `inverse_temperature` is 1.0f / temperature.
inline __device__ float tempered(float logit, float inverse_temperature) { return __fmul_rn(logit, inverse_temperature); }

/// e^x for x <= 0, by the hardware's power of two.
inline __device__ float exp_of(float x) { return exp2f(__fmul_rn(x, 1.4426950408889634f)); }

/// 2^x by the hardware; denormal results are zero.
inline __device__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// What turns logits into exponents of two.
inline __device__ float exponent_scale(float inverse_temperature) { return __fmul_rn(inverse_temperature, 1.4426950408889634f); }

namespace row_statistics {

inline constexpr float kMinusInfinity = -__builtin_inff();
inline constexpr int kTileLanes = 16;                                     // threads of a tile where a thread has one group
inline constexpr int kTiles = kLogitChunk / kLogitTile;
inline constexpr int kPairs = kLogitTile / (2 * kTileLanes);             // of columns, of a thread

/// The exponent of two that a tile's exponentials are relative to.
inline __device__ float base_of(float top, float scale) { return top == kMinusInfinity ? 0.0f : __fmul_rn(top, scale); }

/// Sums of 2^x and 2^x x over x = logit * scale - base.
struct Sums {
  float plain = 0, weighted = 0;
  __device__ __forceinline__ void add(float logit, float scale, float base) {
    const float x = __fmaf_rn(logit, scale, -base), e = exp2_of(x);
    plain = __fadd_rn(plain, e);
    weighted = __fmaf_rn(e, fmaxf(x, -1000.0f), weighted);  // 0 * -inf would be NaN
  }
  __device__ __forceinline__ Sums operator+(const Sums& other) const {
    return {__fadd_rn(plain, other.plain), __fadd_rn(weighted, other.weighted)};
  }
  __device__ __forceinline__ Sums across(int lanes) const {
    return *this + Sums{__shfl_xor_sync(0xffffffffu, plain, lanes), __shfl_xor_sync(0xffffffffu, weighted, lanes)};
  }
};

inline __device__ LogitPartial partial_of(float top, const Sums& sums, float inverse_temperature) {
  return {tempered(top, inverse_temperature), sums.plain, __fmul_rn(sums.weighted, 0.6931471805599453f)};
}

/// Of what `count` partials cover together.
template <typename Partial>
inline __device__ LogitPartial combined(std::int64_t count, const Partial& partial) {
  LogitPartial all{kMinusInfinity, 0, 0};
#pragma unroll 8
  for (std::int64_t i = 0; i < count; ++i) all.max = fmaxf(all.max, partial(i).max);
#pragma unroll 8
  for (std::int64_t i = 0; i < count; ++i) {
    const LogitPartial part = partial(i);
    // Without a branch, which nvcc 13.0 unrolls into sums in the place of maxima. A part of no probability has the maximum -inf; what is
    // not a number goes on in the sums.
    const float distance = fmaxf(__fsub_rn(part.max, all.max), -1000.0f), scale = exp_of(distance);
    all.sum = __fmaf_rn(scale, part.sum, all.sum);
    all.weighted = __fmaf_rn(scale, __fmaf_rn(distance, part.sum, part.weighted), all.weighted);
  }
  return all;
}

}  // namespace row_statistics

/// The partial of a tile of which thread c of a quad has columns 8 j + 2 c and the next in values[2 j], values[2 j + 1]; in all four.
template <int kCount>
inline __device__ LogitPartial tile_partial(const float (&values)[kCount], float inverse_temperature) {
  using namespace row_statistics;
  static_assert(kCount == kLogitTile / 4);
  const float scale = exponent_scale(inverse_temperature);
  float top = kMinusInfinity;
#pragma unroll
  for (int i = 0; i < kCount; ++i) top = fmaxf(top, values[i]);
  for (int step = 1; step < 4; step *= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, step));
  const float base = base_of(top, scale);
  Sums groups[4];
#pragma unroll
  for (int i = 0; i < kCount; ++i) groups[i / (2 * kPairs)].add(values[i], scale, base);
  const Sums sums = ((groups[0] + groups[1]) + (groups[2] + groups[3])).across(1).across(2);
  return partial_of(top, sums, inverse_temperature);
}

/// The partial of logits[0, count), count <= kLogitChunk, in every thread. For a whole block of kChunkThreads threads, which may
/// not diverge.
inline __device__ LogitPartial chunk_partial(const float* logits, int count, float inverse_temperature) {
  using namespace row_statistics;
  __shared__ LogitPartial tiles[kTiles];
  const int thread = static_cast<int>(threadIdx.x), tile = thread / kTileLanes, lane = thread % kTileLanes;
  const int first = tile * kLogitTile + lane / 4 * 64 + lane % 4 * 2;
  const bool aligned = reinterpret_cast<std::uintptr_t>(logits) % sizeof(float2) == 0;
  const float scale = exponent_scale(inverse_temperature);

  float values[2 * kPairs];
  float top = kMinusInfinity;
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const int i = first + 8 * j;
    if (aligned && i + 2 <= count) {
      const float2 two = *reinterpret_cast<const float2*>(logits + i);
      values[2 * j] = two.x;
      values[2 * j + 1] = two.y;
    } else {
      values[2 * j] = i < count ? logits[i] : kMinusInfinity;
      values[2 * j + 1] = i + 1 < count ? logits[i + 1] : kMinusInfinity;
    }
    top = fmaxf(top, fmaxf(values[2 * j], values[2 * j + 1]));
  }
  for (int step = 1; step < kTileLanes; step *= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, step));
  const float base = base_of(top, scale);
  Sums own;
#pragma unroll
  for (int i = 0; i < 2 * kPairs; ++i) own.add(values[i], scale, base);
  const Sums sums = own.across(4).across(8).across(1).across(2);
  __syncthreads();  // an earlier call's shared values are read
  if (lane == 0) tiles[tile] = partial_of(top, sums, inverse_temperature);
  __syncthreads();
  return combined(kTiles, [&](std::int64_t i) { return tiles[i]; });  // those behind the end are of no probability
}

/// A row's summary from its chunks' partials, by one thread: partial(c) is chunk c's.
template <typename Partial>
inline __device__ RowSummary summary_of(std::int64_t chunks, const Partial& partial) {
  const LogitPartial all = row_statistics::combined(chunks, partial);
  const float log_sum = logf(all.sum);
  return {__fadd_rn(all.max, log_sum), __fsub_rn(log_sum, __fdiv_rn(all.weighted, all.sum))};
}

}  // namespace troupe::cuda
