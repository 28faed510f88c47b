#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "common/model/kernels/kernels.h"

// Causal attention over packed sequences with the bits of FlashAttention-2 (Dao 2023), which decode_attention has too: keys in its
// blocks, from the last to the first, each row's operations in its order. Hopper GPUs only.

namespace troupe::cuda {

struct AttentionRows {
  const Bf16* qkv;             // turned by RoPE: rows of q heads, k heads, v heads
  std::int64_t rows;
  std::int32_t heads, kv_heads, head_size;
  const std::int32_t* starts;  // [sequences + 1]
  std::int32_t sequences, longest;
  Bf16* attended;              // [rows, heads, head_size]
  float* lse;                  // [heads, rows]: log of the sum of exponentials of the scaled scores
};

/// Whether the kernel takes these heads on this GPU: sizes 64 and 128.
bool attention_forward_serves(const AttentionRows& rows);

void attention_forward(const AttentionRows& rows, cudaStream_t stream);

}  // namespace troupe::cuda
