#pragma once

#include "common/model/kernels/simd/vector.h"

// The two inner loops of attention, shared by its forward and backward pass. A result's arithmetic is one chain over the
// head's elements (scores) or over the positions (weighted sums), whatever the blocking; so blocks may be chosen for speed.

namespace troupe::TROUPE_ISA {

/// Rows of queries taken at once.
constexpr std::int64_t kQueryRows = 4;

/// scores[r * score_stride + j] = sum_c rows[r * head_size + c] * key_blocks[j / 16][c][j % 16], c in order,
/// for R rows and `Blocks` blocks of keys.
template <int R, int Blocks, typename T>
TROUPE_INLINE void score_blocks(const float* rows, std::int64_t head_size, const T* key_blocks, float* scores,
                                std::int64_t score_stride) {
  V16 sum[R][Blocks] = {};
  for (std::int64_t c = 0; c < head_size; ++c) {
    V16 keys[Blocks];
    for (int b = 0; b < Blocks; ++b) keys[b] = load(key_blocks + (b * head_size + c) * kKeyBlock);
    for (int r = 0; r < R; ++r) {
      const V16 q = all(rows[r * head_size + c]);
      for (int b = 0; b < Blocks; ++b) sum[r][b] = fma(q, keys[b], sum[r][b]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int b = 0; b < Blocks; ++b) store(scores + r * score_stride + b * kKeyBlock, sum[r][b]);
  }
}

template <int R, typename T>
TROUPE_INLINE void score_rows(const float* rows, std::int64_t head_size, const T* key_blocks, std::int64_t blocks,
                              float* scores, std::int64_t score_stride) {
  constexpr int kBlocks = R > 2 ? 4 : 8;
  std::int64_t block = 0;
  for (; block + kBlocks <= blocks; block += kBlocks) {
    score_blocks<R, kBlocks>(rows, head_size, key_blocks + block * head_size * kKeyBlock, scores + block * kKeyBlock,
                             score_stride);
  }
  for (; block < blocks; ++block) {
    score_blocks<R, 1>(rows, head_size, key_blocks + block * head_size * kKeyBlock, scores + block * kKeyBlock,
                       score_stride);
  }
}

/// Scores of `count` (1 to 4) rows against all keys of `blocks` blocks.
template <typename T>
void score(std::int64_t count, const float* rows, std::int64_t head_size, const T* key_blocks, std::int64_t blocks,
           float* scores, std::int64_t score_stride) {
  switch (count) {
    case 1: return score_rows<1>(rows, head_size, key_blocks, blocks, scores, score_stride);
    case 2: return score_rows<2>(rows, head_size, key_blocks, blocks, scores, score_stride);
    case 3: return score_rows<3>(rows, head_size, key_blocks, blocks, scores, score_stride);
    default: return score_rows<4>(rows, head_size, key_blocks, blocks, scores, score_stride);
  }
}

/// The sums over positions of weights[r][p] * values[p], for R rows and Vectors * 16 elements from `values` on; row r takes
/// the positions before limits[r], which do not decrease with r.
template <int R, int Vectors, typename T>
TROUPE_INLINE void weighted_block(const float* weights, std::int64_t weight_stride, const std::int64_t* limits,
                                  const T* values, std::int64_t value_stride, std::int64_t left, float* sums,
                                  std::int64_t sum_stride) {
  V16 sum[R][Vectors] = {};
  const auto value = [&](std::int64_t position, int v) {
    const T* from = values + position * value_stride + v * 16;
    return Vectors == 1 ? load_upto(from, left) : load(from);
  };
  for (std::int64_t position = 0; position < limits[0]; ++position) {
    V16 row[Vectors];
    for (int v = 0; v < Vectors; ++v) row[v] = value(position, v);
    for (int r = 0; r < R; ++r) {
      const V16 weight = all(weights[r * weight_stride + position]);
      for (int v = 0; v < Vectors; ++v) sum[r][v] = fma(weight, row[v], sum[r][v]);
    }
  }
  for (int r = 1; r < R; ++r) {
    for (std::int64_t position = limits[0]; position < limits[r]; ++position) {
      const V16 weight = all(weights[r * weight_stride + position]);
      for (int v = 0; v < Vectors; ++v) sum[r][v] = fma(weight, value(position, v), sum[r][v]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < Vectors; ++v) store_upto(sums + r * sum_stride + v * 16, sum[r][v], left - v * 16);
  }
}

template <int R, typename T>
TROUPE_INLINE void weighted_rows(const float* weights, std::int64_t weight_stride, const std::int64_t* limits, const T* values,
                                 std::int64_t value_stride, std::int64_t head_size, float* sums) {
  std::int64_t c = 0;
  for (; c + 64 <= head_size; c += 64) {
    weighted_block<R, 4>(weights, weight_stride, limits, values + c, value_stride, 64, sums + c, head_size);
  }
  for (; c + 32 <= head_size; c += 32) {
    weighted_block<R, 2>(weights, weight_stride, limits, values + c, value_stride, 32, sums + c, head_size);
  }
  for (; c < head_size; c += 16) {
    weighted_block<R, 1>(weights, weight_stride, limits, values + c, value_stride, head_size - c, sums + c, head_size);
  }
}

/// sums[r][c] = sum over p < limits[r] of weights[r][p] * values[p][c], p in order, for `count` (1 to 4) rows.
template <typename T>
void weighted_sum(std::int64_t count, const float* weights, std::int64_t weight_stride, const std::int64_t* limits,
                  const T* values, std::int64_t value_stride, std::int64_t head_size, float* sums) {
  switch (count) {
    case 1: return weighted_rows<1>(weights, weight_stride, limits, values, value_stride, head_size, sums);
    case 2: return weighted_rows<2>(weights, weight_stride, limits, values, value_stride, head_size, sums);
    case 3: return weighted_rows<3>(weights, weight_stride, limits, values, value_stride, head_size, sums);
    default: return weighted_rows<4>(weights, weight_stride, limits, values, value_stride, head_size, sums);
  }
}

TROUPE_INLINE std::int64_t blocks_of(std::int64_t positions) { return (positions + kKeyBlock - 1) / kKeyBlock; }

}  // namespace troupe::TROUPE_ISA
