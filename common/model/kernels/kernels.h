#pragma once

#include <cstdint>

#include "common/model/adamw_step.h"

// Row-wise kernels of the model on raw memory. Everything here works row by row in a fixed order, so that the bits of a
// row depend on that row alone (in attention: on its sequence up to it), never on the batch, the threads or the blocking.
// Sums are taken in fp32 over 16 lanes and then by a fixed tree. T is the compute type: float or Bf16.

namespace troupe {

/// The bits of a bfloat16 number. Layout-compatible with c10::BFloat16.
struct Bf16 {
  std::uint16_t bits;
};

/// Keys and values of `positions` consecutive positions for one key and value head.
template <typename T>
struct KeyRange {
  const T* key_blocks;  // [blocks of 16 positions][head_size][16], from the range's first position on
  const T* values;      // row i at i * value_stride
  std::int64_t positions;
};

/// One run of attention: `tokens` consecutive tokens of one sequence, the first at `first_position`, for the `group` query
/// heads that share one key and value head. Row (t, g) of a [tokens, group, head_size] operand lies at t * stride + g * head_size.
template <typename T>
struct AttentionRun {
  const T* queries;
  std::int64_t query_stride;
  const KeyRange<T>* ranges;  // from position 0 on, one behind the other; together at least first_position + tokens
  std::int64_t range_count;
  std::int64_t value_stride;
  T* outputs;
  std::int64_t output_stride;
  float* lse;  // log-sum-exp of the scaled scores at t * lse_stride + g; may be null
  std::int64_t lse_stride;
  std::int64_t first_position;
  std::int64_t tokens;
  std::int64_t group;
  std::int64_t head_size;
  const KeyRange<T>* next_ranges;  // those of the run that comes next, to be fetched meanwhile
  std::int64_t next_range_count;   // may be 0; ranges to be fetched are as large in memory as those of this run
};

/// Neighbouring rows, counted from where an operand's pointer points.
struct RowRange {
  std::int64_t first, count;
};

/// The backward pass of a whole sequence (first_position 0) for one key and value head, and of sequences that each go on behind it:
/// their rows see all of its rows and their own up to themselves.
template <typename T>
struct AttentionGradient {
  const T* queries;  // keys and values have the same stride
  const T* keys;
  const T* values;
  std::int64_t qkv_stride;
  const T* outputs;
  const T* grad_outputs;
  std::int64_t output_stride;
  const float* lse;
  std::int64_t lse_stride;
  T* grad_queries;  // written, with the strides of qkv
  T* grad_keys;
  T* grad_values;
  std::int64_t tokens;
  std::int64_t group;
  std::int64_t head_size;
  const RowRange* continuations;
  std::int64_t continuation_count;  // may be 0
};

/// `heads` neighbouring heads of each of `rows` rows: row r begins at values + r * stride.
template <typename T>
struct HeadRows {
  T* values;
  std::int64_t stride;
  T* kept;  // the same heads as they were before the norm, with a stride of their own
  std::int64_t kept_stride;
  std::int64_t rows;
  std::int64_t heads;
  std::int64_t head_size;
};

/// What one row of logits says of `target` at a temperature.
struct RowStatistics {
  float lse;
  float logp;
  float entropy;
};

template <typename T>
struct Kernels {
  /// sum = residual + delta (delta may be null: sum = residual; sum may be residual itself);
  /// normed = sum / sqrt(mean(sum²) + eps) * weight; inverse_rms (may be null) keeps the factor.
  void (*add_rms_norm)(const float* residual, const T* delta, const T* weight, float eps, std::int64_t rows,
                       std::int64_t width, float* sum, T* normed, float* inverse_rms);
  /// grad_sum += the gradient of `sum` given that of `normed`; grad_weight += that of the weight, rows in order. `rounded`
  /// (may be null) takes the new grad_sum in T.
  void (*rms_norm_backward)(const T* grad_normed, const float* sum, const float* inverse_rms, const T* weight,
                            std::int64_t rows, std::int64_t width, float* grad_sum, T* rounded, float* grad_weight);
  /// Norms each head by itself: value = value / sqrt(mean(value²) + eps) * weight; `kept` (may be null) takes what it was.
  void (*head_norm)(const HeadRows<T>& heads, const T* weight, float eps);
  /// Makes the gradients of normed values those of the values before; grad_weight += that of the weight, rows in order.
  void (*head_norm_backward)(const HeadRows<T>& heads, const T* weight, float eps, float* grad_weight);
  /// Adds `bias` (may be null) to rows of `heads` heads and turns the first `turned` heads by their position's angles:
  /// pairs (i, i + head_size / 2), `cos_sin` [positions][2][head_size / 2]. `sign` -1 turns back.
  void (*bias_rope)(T* rows_, const T* bias, const std::int64_t* positions, const float* cos_sin, std::int64_t rows,
                    std::int64_t heads, std::int64_t turned, std::int64_t head_size, float sign);
  /// Writes rows of one head as columns of key blocks [block][head_size][16], the first at `first_position`.
  void (*pack_keys)(const T* keys, std::int64_t stride, std::int64_t rows, std::int64_t head_size,
                    std::int64_t first_position, T* key_blocks);
  /// Causal attention of one run. `scratch` has attention_scratch() floats.
  void (*attend)(const AttentionRun<T>& run, float* scratch);
  /// The gradient of a key or value is the sum over the rows that see it in their order, those of continuations behind the sequence's
  /// own, one after the other. `scratch` has attention_backward_scratch() floats for the sequence and its longest continuation together.
  void (*attend_backward)(const AttentionGradient<T>& run, float* scratch);
  /// activated = silu(gate) * up for rows of [gate, up].
  void (*swiglu)(const T* gate_up, std::int64_t rows, std::int64_t width, T* activated);
  /// The gradient of [gate, up], and `activated` once more.
  void (*swiglu_backward)(const T* gate_up, const T* grad_activated, std::int64_t rows, std::int64_t width, T* grad_gate_up,
                          T* activated);
  /// grad = grad_logp * d logp / d logits of one row, in T.
  void (*logp_gradient)(const float* logits, std::int64_t vocabulary, float temperature, float lse, std::int64_t target,
                        float grad_logp, T* grad);
  void (*to_float)(const T* from, std::int64_t count, float* to);
  void (*from_float)(const float* from, std::int64_t count, T* to);
  /// to += the sum of rows in order.
  void (*add_rows)(const T* rows_, std::int64_t rows, std::int64_t width, float* to);

  RowStatistics (*row_statistics)(const float* logits, std::int64_t vocabulary, float temperature, std::int64_t target);
  float (*log_sum_exp)(const float* logits, std::int64_t vocabulary, float temperature);

  bool (*all_finite)(const float* logits, std::int64_t vocabulary);
  /// The first index of the highest of finite logits.
  std::int64_t (*first_highest)(const float* logits, std::int64_t vocabulary);
  /// The first index, in order, whose cumulative probability exceeds `uniform`; where rounding leaves the total below it, the last
  /// index with any probability.
  std::int64_t (*invert_cdf)(const float* logits, std::int64_t vocabulary, float temperature, float lse, double uniform);

  /// One AdamW update of `count` elements, in the order of operations of torch's _single_tensor_adamw. `rounded` (may be null) takes
  /// the parameters in bf16.
  void (*adamw)(float* parameters, float* exp_avg, float* exp_avg_sq, const float* gradients, std::int64_t count, const AdamWStep& step,
                Bf16* rounded);
  /// The sum of squares of each block of `size` elements, added in order.
  void (*block_squares)(const float* values, std::int64_t blocks, std::int64_t size, double* sums);
};

/// out[rows, n] = left[rows, k] · right[k, n], in fp32. `right` is packed into panels of `panel_columns` columns, each
/// [k][columns].
struct MatrixProduct {
  const float* left;
  std::int64_t left_stride;
  const float* panels;
  float* out;  // rows of n
  std::int64_t n;
  std::int64_t k;
};

/// Matrix products whose every element is one chain over k: a row's bits depend on that row and the matrix alone.
struct MatrixKernels {
  std::int64_t tile_rows;
  std::int64_t panel_columns;
  /// The part of the product in these rows and panels. first_row is a multiple of tile_rows.
  void (*multiply)(const MatrixProduct& product, std::int64_t first_row, std::int64_t last_row, std::int64_t first_panel,
                   std::int64_t last_panel);
  /// Panels of right = wᵀ for w[n, k]. A packed matrix takes packed_size(n, k) floats.
  void (*pack_transposed)(const float* w, std::int64_t n, std::int64_t k, std::int64_t first_panel, std::int64_t last_panel,
                          float* panels);
  /// Panels of right[k, n].
  void (*pack)(const float* right, std::int64_t n, std::int64_t k, std::int64_t first_panel, std::int64_t last_panel,
               float* panels);
};

const MatrixKernels& matrix_kernels();

/// Floats of a right operand [k, n] in panels.
inline std::int64_t packed_size(std::int64_t n, std::int64_t k) { return (n + 15) / 16 * 16 * k; }

/// The kernels for this machine's instruction set (AVX-512, AVX2 or plain).
template <typename T>
const Kernels<T>& kernels();

/// Keys in a block; caches and packed keys are multiples of it.
inline constexpr std::int64_t kKeyBlock = 16;

/// Positions in a page of a cache of keys and values.
inline constexpr std::int64_t kPageTokens = 64;

/// Floats of scratch that `attend` needs for sequences of up to `positions` tokens.
std::int64_t attention_scratch(std::int64_t positions, std::int64_t head_size);
std::int64_t attention_backward_scratch(std::int64_t positions, std::int64_t head_size);

}  // namespace troupe
