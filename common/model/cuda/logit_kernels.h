#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "common/model/kernels/kernels.h"

// What is done to a tile of fp32 logits: rows [0, rows) of columns [first_column, first_column + columns) of
// the vocabulary, contiguous. first_column is a multiple of row_statistics.cuh's kLogitChunk.

namespace troupe::cuda {

struct LogitTile {
  const float* logits;
  std::int64_t rows, columns, first_column;
  const std::int64_t* targets;  // of the tile's rows
  float inverse_temperature;
};

struct LogitPartial;

/// Floats of `partials` for so many rows.
std::int64_t partial_floats(std::int64_t rows, std::int64_t vocabulary);

/// The partials of the tile's chunks, whose rows are [first_row, …) of `all_rows`: of chunk c and row r at partials[c * all_rows + r];
/// and the logits of those targets that lie in the tile, at target_logits[r].
void logit_partials(const LogitTile& tile, std::int64_t all_rows, std::int64_t first_row, LogitPartial* partials, float* target_logits,
                    cudaStream_t stream);

/// Floats of the partials of tiles, [tiles, rows], for so many rows.
std::int64_t tile_floats(std::int64_t rows, std::int64_t vocabulary);

/// The partials of chunks as logit_partials has them, of those of tiles.
void combine_tiles(const LogitPartial* tiles, std::int64_t rows, std::int64_t vocabulary, LogitPartial* partials, cudaStream_t stream);

/// Combines all chunks of `rows` rows: logp of the targets, entropy (nats) and log-sum-exp.
void summarise_rows(const LogitPartial* partials, const float* target_logits, std::int64_t rows, std::int64_t vocabulary,
                    float inverse_temperature, float* logp, float* entropy, float* lse, cudaStream_t stream);

/// grad_logp * d logp / d logits in bf16, to rows of `stride`; `lse` and `grad_logp` are those of the tile's rows.
void logit_gradients(const LogitTile& tile, const float* lse, const float* grad_logp, Bf16* gradients, std::int64_t stride,
                     cudaStream_t stream);

}  // namespace troupe::cuda
