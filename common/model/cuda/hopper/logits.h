#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "common/model/kernels/kernels.h"

// Logits of hidden rows that never reach memory: a tile of them is in registers, is reduced or turned into gradients there, and is
// gone. Their bits are those of cuBLASLt's fp32 product, their statistics' those of row_statistics.cuh. Hopper GPUs only.

namespace troupe::cuda {

struct LogitPartial;

struct LogitProduct {
  const Bf16* hidden;  // [rows, width]
  const Bf16* head;    // [vocabulary, width]
  std::int64_t rows, vocabulary, width;
  const std::int64_t* targets;
  float inverse_temperature;
};

/// Whether these rows can be read: their places and width are multiples of 16 bytes, and the GPU is of the kind.
bool fused_logits_serve(const LogitProduct& product);

/// The partial of each tile of each row, at partials[tile * rows + row], and the logits of the targets.
void fused_partials(const LogitProduct& product, LogitPartial* partials, float* target_logits, cudaStream_t stream);

/// grad_logp * d logp / d logits in bf16, of columns [first_column, first_column + columns), to gradients [rows, columns];
/// `columns` is a multiple of 8, first_column of kLogitTile.
void fused_gradients(const LogitProduct& product, std::int64_t first_column, std::int64_t columns, const float* lse, const float* grad_logp,
                     Bf16* gradients, cudaStream_t stream);

}  // namespace troupe::cuda
