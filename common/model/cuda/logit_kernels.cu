#include "common/model/cuda/logit_kernels.h"

#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/row_statistics.cuh"

namespace troupe::cuda {
namespace {

/// One block a chunk of a row.
__global__ void __launch_bounds__(kChunkThreads) logit_partials_kernel(LogitTile tile, std::int64_t all_rows, std::int64_t first_row,
                                                                       LogitPartial* partials, float* target_logits) {
  const std::int64_t row = blockIdx.x, begin = std::int64_t{blockIdx.y} * kLogitChunk;
  const float* const logits = tile.logits + row * tile.columns + begin;
  const int count = static_cast<int>(min(std::int64_t{kLogitChunk}, tile.columns - begin));
  const LogitPartial partial = chunk_partial(logits, count, tile.inverse_temperature);
  if (threadIdx.x != 0) return;
  const std::int64_t first = tile.first_column + begin, target = tile.targets[row] - first;
  partials[first / kLogitChunk * all_rows + first_row + row] = partial;
  if (target >= 0 && target < count) target_logits[first_row + row] = logits[target];
}

__global__ void combine_tiles_kernel(const LogitPartial* tiles, std::int64_t rows, std::int64_t all_tiles, LogitPartial* partials) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x, first = std::int64_t{blockIdx.y} * row_statistics::kTiles;
  if (row >= rows) return;
  partials[blockIdx.y * rows + row] = row_statistics::combined(min(std::int64_t{row_statistics::kTiles}, all_tiles - first),
                                                               [&](std::int64_t i) { return tiles[(first + i) * rows + row]; });
}

__global__ void summarise_rows_kernel(const LogitPartial* partials, const float* target_logits, std::int64_t rows, std::int64_t chunks,
                                      float inverse_temperature, float* logp, float* entropy, float* lse) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  const RowSummary summary = summary_of(chunks, [&](std::int64_t chunk) { return partials[chunk * rows + row]; });
  lse[row] = summary.lse;
  entropy[row] = summary.entropy;
  logp[row] = __fsub_rn(tempered(target_logits[row], inverse_temperature), summary.lse);
}

/// d logp / d logit_v = ([v is the target] - p_v) / temperature. One block takes kLogitChunk logits of a row; a thread loads all of its
/// own before it computes.
__global__ void __launch_bounds__(kChunkThreads) logit_gradients_kernel(LogitTile tile, const float* lse, const float* grad_logp,
                                                                        Bf16* gradients, std::int64_t stride) {
  constexpr int kVectors = kLogitChunk / (4 * kChunkThreads);
  const std::int64_t row = blockIdx.x, begin = std::int64_t{blockIdx.y} * kLogitChunk;
  const float* const logits = tile.logits + row * tile.columns + begin;
  Bf16* const to = gradients + row * stride + begin;
  const int count = static_cast<int>(min(std::int64_t{kLogitChunk}, tile.columns - begin)), thread = static_cast<int>(threadIdx.x);
  const float scale = grad_logp[row] * tile.inverse_temperature, row_lse = lse[row];
  const int target = static_cast<int>(max(std::int64_t{-1}, min(tile.targets[row] - tile.first_column - begin, std::int64_t{kLogitChunk})));
  const auto gradient = [&](float logit, int i) {
    const float p = exp_of(tempered(logit, tile.inverse_temperature) - row_lse);
    return to_bf16((i == target ? 1.0F - p : -p) * scale);
  };
  if (tile.columns % 4 != 0 || stride % 4 != 0) {
    for (int i = thread; i < count; i += kChunkThreads) to[i] = gradient(logits[i], i);
    return;
  }
  FourFloats x[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int i = 4 * (v * kChunkThreads + thread);
    if (i < count) x[v] = load4(logits + i);
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int i = 4 * (v * kChunkThreads + thread);
    if (i >= count) continue;
    Four out;
#pragma unroll
    for (int j = 0; j < 4; ++j) out.v[j] = gradient(x[v].v[j], i + j);
    *reinterpret_cast<Four*>(to + i) = out;
  }
}

}  // namespace

std::int64_t partial_floats(std::int64_t rows, std::int64_t vocabulary) {
  return rows * logit_chunks(vocabulary) * static_cast<std::int64_t>(sizeof(LogitPartial) / sizeof(float));
}

void logit_partials(const LogitTile& tile, std::int64_t all_rows, std::int64_t first_row, LogitPartial* partials, float* target_logits,
                    cudaStream_t stream) {
  if (tile.rows == 0) return;
  const dim3 blocks(static_cast<unsigned>(tile.rows), blocks_of(tile.columns, kLogitChunk));
  logit_partials_kernel<<<blocks, kChunkThreads, 0, stream>>>(tile, all_rows, first_row, partials, target_logits);
}

std::int64_t tile_floats(std::int64_t rows, std::int64_t vocabulary) {
  return rows * logit_tiles(vocabulary) * static_cast<std::int64_t>(sizeof(LogitPartial) / sizeof(float));
}

void combine_tiles(const LogitPartial* tiles, std::int64_t rows, std::int64_t vocabulary, LogitPartial* partials, cudaStream_t stream) {
  if (rows == 0) return;
  constexpr int kRowThreads = 128;
  const dim3 blocks(blocks_of(rows, kRowThreads), static_cast<unsigned>(logit_chunks(vocabulary)));
  combine_tiles_kernel<<<blocks, kRowThreads, 0, stream>>>(tiles, rows, logit_tiles(vocabulary), partials);
}

void summarise_rows(const LogitPartial* partials, const float* target_logits, std::int64_t rows, std::int64_t vocabulary,
                    float inverse_temperature, float* logp, float* entropy, float* lse, cudaStream_t stream) {
  if (rows == 0) return;
  constexpr int kRowThreads = 64;
  summarise_rows_kernel<<<blocks_of(rows, kRowThreads), kRowThreads, 0, stream>>>(partials, target_logits, rows, logit_chunks(vocabulary),
                                                                                  inverse_temperature, logp, entropy, lse);
}

void logit_gradients(const LogitTile& tile, const float* lse, const float* grad_logp, Bf16* gradients, std::int64_t stride,
                     cudaStream_t stream) {
  if (tile.rows == 0) return;
  const dim3 blocks(static_cast<unsigned>(tile.rows), blocks_of(tile.columns, kLogitChunk));
  logit_gradients_kernel<<<blocks, kChunkThreads, 0, stream>>>(tile, lse, grad_logp, gradients, stride);
}

}  // namespace troupe::cuda
