#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "common/model/kernels/kernels.h"

// The gradient of causal attention over packed sequences, up to that of the rows before RoPE. Scores are computed twice, for the
// queries' gradient and for the keys' and values', so that each is summed by one block in one order: the same bits in every run.
// Hopper GPUs only.

namespace troupe::cuda {

struct AttentionGradient {
  const Bf16* qkv;            // turned by RoPE: rows of q heads, k heads, v heads
  const Bf16* attended;       // [rows, heads, head_size]
  const Bf16* grad_attended;
  const float* lse;           // [heads, rows]: log of the sum of exponentials of the scaled scores
  std::int64_t rows;
  std::int32_t heads, kv_heads, head_size;
  const std::int32_t* starts;  // [sequences + 1]
  std::int32_t sequences, longest;
  const std::int32_t* positions;
  const float* rope;           // [positions, 2, head_size / 2]: cosines, then sines
  float* products;             // [heads, rows], for the kernels' own use
  Bf16* grad_qkv;
};

/// Whether the kernels take these heads on this GPU: sizes 64 and 128.
bool attention_backward_serves(const AttentionGradient& gradient);

void attention_backward(const AttentionGradient& gradient, cudaStream_t stream);

}  // namespace troupe::cuda
