#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "common/model/kernels/kernels.h"

// The element-wise kernels of the forward pass on a GPU. A row's bits depend on that row alone. All matrices are row-major
// and contiguous; rows of `hidden`, `width`, … elements are multiples of 8.

namespace troupe::cuda {

/// residual[row] = table[ids[row]], in fp32.
void embed(const Bf16* table, const std::int64_t* ids, std::int64_t rows, std::int64_t hidden, float* residual, cudaStream_t stream);

/// sum = residual + delta (delta may be null; sum may be residual itself); normed = sum / sqrt(mean(sum²) + eps) * weight;
/// inverse_rms (may be null) keeps the factor.
void add_rms_norm(const float* residual, const Bf16* delta, const Bf16* weight, float eps, std::int64_t rows, std::int64_t hidden,
                  float* sum, Bf16* normed, float* inverse_rms, cudaStream_t stream);

/// What becomes of the rows [q heads, k heads, v heads] that the projection gave.
struct QkvRows {
  Bf16* qkv;  // changed in place
  std::int64_t rows;
  std::int32_t heads, kv_heads, head_size;
  const Bf16* bias;             // may be null
  const Bf16* q_norm;           // weights of a norm of each head; may be null, then k_norm too
  const Bf16* k_norm;
  float eps;
  Bf16* unnormed;               // q and k as they were before their norms, rows of (heads + kv_heads) * head_size; may be null
  const std::int32_t* positions;
  const float* rope;            // [positions, 2, head_size / 2]: cosines, then sines
  // Where keys and values go: the pages of one layer, [pages, kv_heads, kPageTokens, head_size]; null for none.
  Bf16* keys;
  Bf16* values;
  const std::int32_t* slots;    // of each row: page * kPageTokens + place in the page; negative: nowhere
};
/// Adds the bias, norms and turns the heads, and writes keys and values to the cache.
void finish_qkv(const QkvRows& rows, cudaStream_t stream);

/// activated = silu(gate) * up for rows of [gate, up], `inner` elements each.
void swiglu(const Bf16* gate_up, std::int64_t rows, std::int64_t inner, Bf16* activated, cudaStream_t stream);

/// Positions of many sequences copied from the cache's pages of one layer to rows one behind the other: row r of `keys_out` and
/// `values_out`, [rows, kv_heads, head_size], from slots[r] (page * kPageTokens + place).
void gather_positions(const Bf16* keys, const Bf16* values, const std::int32_t* slots, std::int64_t rows, std::int64_t kv_heads,
                      std::int64_t head_size, Bf16* keys_out, Bf16* values_out, cudaStream_t stream);

}  // namespace troupe::cuda
