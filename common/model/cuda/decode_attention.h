#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "common/model/cuda/forward_kernels.h"

// Attention of single tokens over a paged cache: the generation step's.

namespace troupe::cuda {

/// Rows that each attend to the positions of their sequence up to themselves, in one layer.
struct DecodeRows {
  QkvRows qkv;          // with the cache, which holds the rows' own keys and values too
  bool unfinished;      // whether finish_qkv is still to be done
  Bf16* attended;       // rows of q heads
  const std::int32_t* lengths;        // of each row: positions to attend to, its own the last; 0: the row is left alone
  const std::int32_t* shared_tokens;  // of each row: positions in its sequence's shared pages
  const std::int32_t* pages;          // of each row: page_stride entries, the shared pages first, then the sequence's own
  std::int64_t page_stride;
};

/// Whether decode_attention takes such heads.
bool decode_attention_serves(std::int64_t heads, std::int64_t kv_heads, std::int64_t head_size);

/// One block of threads for each row and key head, over blocks of keys from the last to the first, in the order of operations of FlashAttention-2's
/// forward kernel (Dao 2023, algorithm 1; csrc/flash_attn/src/flash_fwd_kernel.h): a row has the bits that ATen's flash attention gives
/// it in a causal pass over the whole sequence.
void decode_attention(const DecodeRows& rows, cudaStream_t stream);

}  // namespace troupe::cuda
