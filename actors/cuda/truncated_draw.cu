#include <cstdint>

#include "actors/cuda/draw_kernels.h"
#include "common/model/cuda/launch_early.cuh"
#include "common/model/cuda/row_statistics.cuh"

// Draws from truncated distributions (actors/sampler.h has the rules), a block a row. Weights e^(z - max) are added up in units of
// 2^-40: integers, so that the order of additions does not matter and a row's token depends on that row alone.

namespace troupe::cuda {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32, kEach = 8, kBins = 256;
constexpr float kUnit = 1099511627776.0F;  // 2^40

using Mass = unsigned long long;

/// Larger for larger floats; the two zeros are equal.
__device__ __forceinline__ unsigned key_of(float x) {
  const unsigned bits = __float_as_uint(__fadd_rn(x, 0.0F));
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

struct Shared {
  Mass histograms[kWarps][kBins];
  Mass warps[kWarps];
  Mass above;
  int bin, found;
};

/// One row: its logits, and what is left of them so far.
struct Row {
  const float* logits;
  int vocabulary;
  float inverse, top;    // of the temperature; the highest tempered logit
  unsigned lowest = 0;   // keys below are out
  int last_lowest = 0x7FFFFFFF;  // the last id of that key that is in
  float least_weight = 0;

  __device__ __forceinline__ float weight(float logit) const { return exp_of(fminf(0.0F, __fsub_rn(tempered(logit, inverse), top))); }
  __device__ __forceinline__ Mass mass(float logit) const { return static_cast<Mass>(weight(logit) * kUnit); }
  __device__ __forceinline__ bool has(int id, float logit) const {
    const unsigned key = key_of(logit);
    return (key > lowest || (key == lowest && id <= last_lowest)) && weight(logit) >= least_weight;
  }
};

__device__ Mass sum_of_block(Mass own, Shared& shared) {
  for (int distance = 16; distance > 0; distance /= 2) own += __shfl_xor_sync(0xffffffffU, own, distance);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared.warps[threadIdx.x / 32] = own;
  __syncthreads();
  Mass all = 0;
  for (const Mass warp : shared.warps) all += warp;
  return all;
}

struct Selected {
  unsigned key;
  Mass above;  // of larger keys
};

/// The largest key from which on upwards count(logit) of the row's ids comes to `target`, a digit of it at a time.
template <typename Count>
__device__ Selected select(const Row& row, Shared& shared, Mass target, const Count& count) {
  const int warp = static_cast<int>(threadIdx.x / 32);
  unsigned prefix = 0;
  Mass above = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = static_cast<int>(threadIdx.x); i < kWarps * kBins; i += kThreads) shared.histograms[i / kBins][i % kBins] = 0;
    __syncthreads();
#pragma unroll 4
    for (int id = static_cast<int>(threadIdx.x); id < row.vocabulary; id += kThreads) {
      const unsigned key = key_of(row.logits[id]);
      if (key < row.lowest || (shift < 24 && key >> (shift + 8) != prefix)) continue;
      const Mass own = count(row.logits[id]);
      if (own > 0) atomicAdd(&shared.histograms[warp][key >> shift & 255], own);
    }
    __syncthreads();
    for (int bin = static_cast<int>(threadIdx.x); bin < kBins; bin += kThreads) {
      for (int w = 1; w < kWarps; ++w) shared.histograms[0][bin] += shared.histograms[w][bin];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int bin = kBins - 1, last = bin;
      Mass sum = above;
      for (; bin >= 0; --bin) {
        const Mass own = shared.histograms[0][bin];
        if (own == 0) continue;
        last = bin;
        if (sum + own >= target) break;
        sum += own;
      }
      shared.bin = bin < 0 ? last : bin;
      shared.above = bin < 0 ? sum - shared.histograms[0][last] : sum;
    }
    __syncthreads();
    prefix = prefix << 8 | static_cast<unsigned>(shared.bin);
    above = shared.above;
    __syncthreads();
  }
  return {prefix, above};
}

/// The first id up to which count(id, logit) comes to more than `target`; the vocabulary's size where all do not.
template <typename Count>
__device__ int first_exceeding(const Row& row, Shared& shared, Mass target, const Count& count) {
  if (threadIdx.x == 0) shared.found = row.vocabulary;
  Mass before = 0;
  for (int first = 0; first < row.vocabulary; first += kThreads * kEach) {
    const int begin = first + static_cast<int>(threadIdx.x) * kEach;
    Mass counts[kEach], own = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      counts[i] = begin + i < row.vocabulary ? count(begin + i, row.logits[begin + i]) : 0;
      own += counts[i];
    }
    const Mass all = sum_of_block(own, shared);
    if (before + all <= target) {
      before += all;
      continue;
    }
    Mass sum = own;  // of the warp's lanes up to this one
    for (int distance = 1; distance < 32; distance *= 2) {
      const Mass other = __shfl_up_sync(0xffffffffU, sum, distance);
      if (static_cast<int>(threadIdx.x % 32) >= distance) sum += other;
    }
    sum += before - own;
    for (int w = 0; w < static_cast<int>(threadIdx.x / 32); ++w) sum += shared.warps[w];
    for (int i = 0; i < kEach; ++i) {
      sum += counts[i];
      if (counts[i] > 0 && sum > target) {
        atomicMin(&shared.found, begin + i);
        break;
      }
    }
    break;
  }
  __syncthreads();
  const int found = shared.found;
  __syncthreads();
  return found;
}

__global__ void __launch_bounds__(kThreads) truncated_draw_kernel(DrawRows r) {
  __shared__ Shared shared;
  let_next_begin();
  wait_for_earlier();
  const std::int64_t number = blockIdx.x;
  if (!is_truncated(r, number)) return;
  const std::int64_t chunks = logit_chunks(r.vocabulary);
  const auto* const partials = reinterpret_cast<const LogitPartial*>(r.partials) + number * chunks;
  const float lse = summary_of(chunks, [&](std::int64_t c) { return partials[c]; }).lse;
  if (!(fabsf(lse) < -row_statistics::kMinusInfinity)) {  // also where it is not a number
    if (threadIdx.x == 0) r.ids[number] = -1;
    return;
  }
  Row row{r.logits + number * r.vocabulary, static_cast<int>(r.vocabulary), 1.0F / r.temperatures[number], row_statistics::kMinusInfinity};
  for (std::int64_t c = 0; c < chunks; ++c) row.top = fmaxf(row.top, partials[c].max);

  const Truncation& t = r.truncations[number];
  if (t.top_k > 0 && t.top_k < r.vocabulary) {
    row.lowest = select(row, shared, static_cast<Mass>(t.top_k), [](float) { return Mass{1}; }).key;
  }
  if (t.top_p < 1.0) {
    Mass own = 0;
#pragma unroll 4
    for (int id = static_cast<int>(threadIdx.x); id < row.vocabulary; id += kThreads) {
      if (key_of(row.logits[id]) >= row.lowest) own += row.mass(row.logits[id]);
    }
    const double wanted = t.top_p * static_cast<double>(sum_of_block(own, shared));
    const Mass target = max(static_cast<Mass>(ceil(wanted)), Mass{1});
    const Selected selected = select(row, shared, target, [&](float logit) { return row.mass(logit); });
    row.lowest = selected.key;
    // Of those with that logit only as many as are needed.
    const float logit = __uint_as_float((selected.key & 0x80000000U) != 0 ? selected.key ^ 0x80000000U : ~selected.key);
    const Mass each = max(row.mass(logit), Mass{1}), needed = (target - min(target, selected.above) + each - 1) / each;
    row.last_lowest = first_exceeding(row, shared, max(needed, Mass{1}) - 1, [&](int, float x) { return Mass{key_of(x) == selected.key}; });
  }
  row.least_weight = t.min_p;

  Mass own = 0;
#pragma unroll 4
  for (int id = static_cast<int>(threadIdx.x); id < row.vocabulary; id += kThreads) {
    if (row.has(id, row.logits[id])) own += row.mass(row.logits[id]);
  }
  const Mass total = sum_of_block(own, shared);  // at least one unit: the highest logit's
  const Mass target = min(static_cast<Mass>(r.uniforms[number] * static_cast<double>(total)), total - 1);
  const int token = first_exceeding(row, shared, target, [&](int id, float x) { return row.has(id, x) ? row.mass(x) : Mass{0}; });
  if (threadIdx.x != 0) return;
  const double rest = static_cast<double>(row.top) + log(static_cast<double>(total) / static_cast<double>(kUnit));
  r.ids[number] = token;
  r.logprobs[number] = static_cast<float>(static_cast<double>(tempered(row.logits[token], row.inverse)) - rest);
}

}  // namespace

void draw_truncated(const DrawRows& rows, cudaStream_t stream) {
  launch_early(truncated_draw_kernel, dim3(static_cast<unsigned>(rows.rows)), kThreads, 0, stream, rows);
}

}  // namespace troupe::cuda
