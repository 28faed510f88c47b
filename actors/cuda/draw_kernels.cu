#include "actors/cuda/draw_kernels.h"

#include "common/model/cuda/launch_early.cuh"
#include "common/model/cuda/row_statistics.cuh"

namespace troupe::cuda {
namespace {

constexpr int kPerThread = kLogitChunk / kChunkThreads;

__device__ float inverse_of(float temperature) { return temperature == 0.0F ? 1.0F : 1.0F / temperature; }

/// Blocks (chunk, row).
__global__ void __launch_bounds__(kChunkThreads) partial_kernel(DrawRows r) {
  let_next_begin();
  wait_for_earlier();
  const std::int64_t chunks = logit_chunks(r.vocabulary), row = blockIdx.y, first = static_cast<std::int64_t>(blockIdx.x) * kLogitChunk;
  const int count = static_cast<int>(min(static_cast<std::int64_t>(kLogitChunk), r.vocabulary - first));
  const LogitPartial partial = chunk_partial(r.logits + row * r.vocabulary + first, count, inverse_of(r.temperatures[row]));
  if (threadIdx.x == 0) reinterpret_cast<LogitPartial*>(r.partials)[row * chunks + blockIdx.x] = partial;
}

/// The sum of `value` over the threads before this one, in a fixed order, and over all.
__device__ double sum_before(double value, double& all) {
  __shared__ double warps[kChunkThreads / 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  double sum = value;
  for (int distance = 1; distance < 32; distance *= 2) {
    const double other = __shfl_up_sync(0xffffffffU, sum, distance);
    if (lane >= distance) sum += other;
  }
  if (lane == 31) warps[warp] = sum;
  __syncthreads();
  double before = 0;
  all = 0;
  for (int i = 0; i < kChunkThreads / 32; ++i) {
    if (i < warp) before += warps[i];
    all += warps[i];
  }
  return before + sum - value;
}

/// One block a row: finds the chunk, then the token within it.
__global__ void __launch_bounds__(kChunkThreads) draw_kernel(DrawRows r) {
  __shared__ int found, last_possible;
  const std::int64_t chunks = logit_chunks(r.vocabulary), row = blockIdx.x;
  extern __shared__ double masses[];  // of the row's chunks, and behind them their partials
  auto* const partials = reinterpret_cast<LogitPartial*>(masses + chunks);
  let_next_begin();
  wait_for_earlier();
  if (is_truncated(r, row)) return;
  for (std::int64_t c = threadIdx.x; c < chunks; c += kChunkThreads) partials[c] = reinterpret_cast<const LogitPartial*>(r.partials)[row * chunks + c];
  __syncthreads();
  const float inverse = inverse_of(r.temperatures[row]);
  const bool greedy = r.temperatures[row] == 0.0F;
  const float lse = summary_of(chunks, [&](std::int64_t c) { return partials[c]; }).lse;
  if (!(fabsf(lse) < -row_statistics::kMinusInfinity)) {  // also where it is not a number
    if (threadIdx.x == 0) r.ids[row] = -1;
    return;
  }

  for (std::int64_t c = threadIdx.x; c < chunks; c += kChunkThreads) {
    masses[c] = static_cast<double>(__fmul_rn(exp_of(fminf(0.0F, __fsub_rn(partials[c].max, lse))), partials[c].sum));
  }
  __syncthreads();

  // Every thread walks over the chunks alike.
  float top = row_statistics::kMinusInfinity;
  for (std::int64_t c = 0; c < chunks; ++c) top = fmaxf(top, partials[c].max);
  const double uniform = r.uniforms[row];
  std::int64_t chunk = -1;
  double below = 0;
  for (std::int64_t c = 0; c < chunks && chunk < 0; ++c) {
    if (greedy) {
      if (partials[c].max == top) chunk = c;
      continue;
    }
    if (uniform < below + masses[c]) chunk = c;
    else below += masses[c];
  }
  if (chunk < 0) {  // rounding left the total below `uniform`: the last chunk with any probability
    for (std::int64_t c = 0; c < chunks; ++c) {
      if (exp_of(fminf(0.0F, __fsub_rn(partials[c].max, lse))) > 0) chunk = c;
    }
    below = -1;  // and there the last such token
  }

  const std::int64_t first = chunk * kLogitChunk;
  const int count = static_cast<int>(min(static_cast<std::int64_t>(kLogitChunk), r.vocabulary - first));
  const float* const logits = r.logits + row * r.vocabulary + first;
  const int begin = static_cast<int>(threadIdx.x) * kPerThread;
  float z[kPerThread];
  double own = 0;
  for (int i = 0; i < kPerThread; ++i) {
    z[i] = begin + i < count ? tempered(logits[begin + i], inverse) : row_statistics::kMinusInfinity;
    own += static_cast<double>(exp_of(fminf(0.0F, __fsub_rn(z[i], lse))));
  }
  if (threadIdx.x == 0) {
    found = kLogitChunk;
    last_possible = 0;
  }
  double all = 0;
  double cumulative = below + sum_before(own, all);  // its barrier also covers `found`
  for (int i = 0; i < kPerThread && begin + i < count; ++i) {
    const float p = exp_of(fminf(0.0F, __fsub_rn(z[i], lse)));
    cumulative += static_cast<double>(p);
    const bool here = greedy ? z[i] == top : below >= 0 && uniform < cumulative && p > 0;
    if (here) {
      atomicMin(&found, begin + i);
      break;
    }
    if (p > 0) atomicMax(&last_possible, begin + i);
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  const int token = found < kLogitChunk ? found : last_possible;
  r.ids[row] = static_cast<std::int32_t>(first) + token;
  r.logprobs[row] = __fsub_rn(tempered(logits[token], inverse), lse);
}

__global__ void take_drawn_kernel(std::int64_t* ids, std::int64_t rows, const std::int32_t* drawn) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  // A row that was broken drew -1: its error is told when its step is finished.
  if (row < rows && ids[row] < 0) ids[row] = max(drawn[-1 - ids[row]], 0);
}

}  // namespace

void take_drawn(std::int64_t* ids, std::int64_t rows, const std::int32_t* drawn, cudaStream_t stream) {
  take_drawn_kernel<<<static_cast<unsigned>((rows + 255) / 256), 256, 0, stream>>>(ids, rows, drawn);
}

std::int64_t draw_partials(std::int64_t rows, std::int64_t vocabulary) {
  return rows * logit_chunks(vocabulary) * static_cast<std::int64_t>(sizeof(LogitPartial) / sizeof(float));
}

void draw_tokens(const DrawRows& rows, cudaStream_t stream) {
  if (rows.rows == 0) return;
  const dim3 grid(static_cast<unsigned>(logit_chunks(rows.vocabulary)), static_cast<unsigned>(rows.rows));
  launch_early(partial_kernel, grid, kChunkThreads, 0, stream, rows);
  const auto shared = static_cast<std::size_t>(logit_chunks(rows.vocabulary)) * (sizeof(double) + sizeof(LogitPartial));
  launch_early(draw_kernel, dim3(static_cast<unsigned>(rows.rows)), kChunkThreads, shared, stream, rows);
  if (rows.truncations != nullptr) draw_truncated(rows, stream);
}

}  // namespace troupe::cuda
