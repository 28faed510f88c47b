#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "common/model/kernels/kernels.h"

// The element-wise kernels of the backward pass on a GPU. All matrices are row-major and contiguous; rows are multiples of 8
// elements. Sums over rows are taken in parts of a fixed number of rows and the parts added in a fixed order, never by atomics:
// two runs give the same bits.

namespace troupe::cuda {

/// Floats of scratch that the sums over `rows` rows of `width` columns need, in any function below.
std::int64_t row_sum_scratch(std::int64_t rows, std::int64_t width);

/// The gradient through a norm: grad_sum += that of `sum` given that of its normed rows; `rounded` takes the new grad_sum in bf16;
/// grad_weight += that of the weight. `hidden` is at most 8192.
struct NormGradient {
  const Bf16* grad_normed;
  const float* sum;
  const float* inverse_rms;
  const Bf16* weight;
  std::int64_t rows;
  std::int32_t hidden;
  float* grad_sum;
  Bf16* rounded;
  float* grad_weight;
};
void rms_norm_backward(const NormGradient& gradient, float* scratch, cudaStream_t stream);

/// The gradient of the projected rows [q heads, k heads, v heads], bias included, from that of attention's operands.
struct QkvGradient {
  const Bf16* grad_queries;  // [rows, heads, head_size]; keys and values [rows, kv_heads, head_size]; may lie in grad_qkv
  const Bf16* grad_keys;
  const Bf16* grad_values;
  std::int64_t query_stride, key_stride;  // elements from row to row, the latter of keys and of values
  std::int64_t rows;
  std::int32_t heads, kv_heads, head_size;  // head_size is even and at most 256
  const std::int32_t* positions;
  const float* rope;       // [positions, 2, head_size / 2]: cosines, then sines; null where queries and keys are turned back already
  const Bf16* unnormed;    // q and k before their norms, rows of (heads + kv_heads) * head_size; null where there are no norms
  const Bf16* q_norm;
  const Bf16* k_norm;
  float eps;
  Bf16* grad_qkv;
  float* grad_bias;        // += ; may be null
  float* grad_q_norm;      // += ; null where there are no norms
  float* grad_k_norm;
};
void finish_qkv_backward(const QkvGradient& gradient, float* scratch, cudaStream_t stream);

/// The gradient of rows of [gate, up], `inner` elements each.
void swiglu_backward(const Bf16* gate_up, const Bf16* grad_activated, std::int64_t rows, std::int64_t inner, Bf16* grad_gate_up,
                     cudaStream_t stream);

/// grad_table[id] += the sum of the rows of that id, in order. `ids` is sorted, order[i] the row of ids[i], ascending among equals.
void embedding_backward(const float* rows_, const std::int64_t* ids, const std::int64_t* order, std::int64_t rows, std::int64_t hidden,
                        float* grad_table, cudaStream_t stream);

}  // namespace troupe::cuda
