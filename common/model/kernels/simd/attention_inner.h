#pragma once

#include "common/model/kernels/simd/vector.h"

// The two inner loops of attention, shared by its forward and backward pass. A result's arithmetic is one chain over the
// head's elements (scores) or over the positions (weighted sums), whatever the blocking; so blocks may be chosen for speed.

namespace troupe::TROUPE_ISA {

/// Rows of queries taken at once.
constexpr std::int64_t kQueryRows = 4;

/// Fetches the cache line that is to the matrix `ahead` what `read` is to `matrix`; nothing where ahead is null.
template <typename T>
TROUPE_INLINE void fetch_ahead(const T* ahead, const T* matrix, const T* read) {
  if (ahead != nullptr) __builtin_prefetch(ahead + (read - matrix), 0, 2);
}

/// scores[r * score_stride + j] = sum_c rows[r * head_size + c] * key_blocks[j / 16][c][j % 16], c in order,
/// for R rows and `Blocks` blocks of keys.
template <int R, int Blocks, typename T>
TROUPE_INLINE void score_blocks(const float* rows, std::int64_t head_size, const T* key_blocks, const T* ahead,
                                float* scores, std::int64_t score_stride) {
  V16 sum[R][Blocks] = {};
  for (std::int64_t c = 0; c < head_size; ++c) {
    V16 keys[Blocks];
    for (int b = 0; b < Blocks; ++b) {
      const T* read = key_blocks + (b * head_size + c) * kKeyBlock;
      keys[b] = load(read);
      fetch_ahead(ahead, key_blocks, read);
    }
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
                              const T* ahead, float* scores, std::int64_t score_stride) {
  constexpr int kBlocks = R > 2 ? 4 : 8;
  const auto run = [&]<int Blocks>(std::int64_t block) {
    const std::int64_t offset = block * head_size * kKeyBlock;
    score_blocks<R, Blocks>(rows, head_size, key_blocks + offset, ahead == nullptr ? nullptr : ahead + offset,
                            scores + block * kKeyBlock, score_stride);
  };
  std::int64_t block = 0;
  for (; block + kBlocks <= blocks; block += kBlocks) run.template operator()<kBlocks>(block);
  if constexpr (kBlocks > 4) {
    for (; block + 4 <= blocks; block += 4) run.template operator()<4>(block);
  }
  for (; block + 2 <= blocks; block += 2) run.template operator()<2>(block);
  if (block < blocks) run.template operator()<1>(block);
}

/// Scores of `count` (1 to 4) rows against all keys of `blocks` blocks. `ahead` (may be null) is as large a matrix to fetch.
template <typename T>
void score(std::int64_t count, const float* rows, std::int64_t head_size, const T* key_blocks, std::int64_t blocks,
           const T* ahead, float* scores, std::int64_t score_stride) {
  switch (count) {
    case 1: return score_rows<1>(rows, head_size, key_blocks, blocks, ahead, scores, score_stride);
    case 2: return score_rows<2>(rows, head_size, key_blocks, blocks, ahead, scores, score_stride);
    case 3: return score_rows<3>(rows, head_size, key_blocks, blocks, ahead, scores, score_stride);
    default: return score_rows<4>(rows, head_size, key_blocks, blocks, ahead, scores, score_stride);
  }
}

/// The sums over positions of weights[r][p] * values[p], for R rows and Vectors * 16 elements from `values` on; row r takes
/// the positions before limits[r], which do not decrease with r.
template <int R, int Vectors, typename T>
TROUPE_INLINE void weighted_block(const float* weights, std::int64_t weight_stride, const std::int64_t* limits,
                                  const T* values, std::int64_t value_stride, std::int64_t left, const T* ahead, bool add,
                                  float* sums, std::int64_t sum_stride) {
  V16 sum[R][Vectors] = {};
  if (add) {
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < Vectors; ++v) sum[r][v] = load_upto(sums + r * sum_stride + v * 16, left - v * 16);
    }
  }
  const auto value = [&](std::int64_t position, int v) {
    const T* from = values + position * value_stride + v * 16;
    return Vectors == 1 ? load_upto(from, left) : load(from);
  };
  for (std::int64_t position = 0; position < limits[0]; ++position) {
    V16 row[Vectors];
    for (int v = 0; v < Vectors; ++v) {
      row[v] = value(position, v);
      fetch_ahead(ahead, values, values + position * value_stride + v * 16);
    }
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
                                 std::int64_t value_stride, std::int64_t head_size, const T* ahead, bool add, float* sums) {
  const auto run = [&]<int Vectors>(std::int64_t c) {
    weighted_block<R, Vectors>(weights, weight_stride, limits, values + c, value_stride, head_size - c,
                               ahead == nullptr ? nullptr : ahead + c, add, sums + c, head_size);
  };
  std::int64_t c = 0;
  for (; c + 64 <= head_size; c += 64) run.template operator()<4>(c);
  for (; c + 32 <= head_size; c += 32) run.template operator()<2>(c);
  for (; c < head_size; c += 16) run.template operator()<1>(c);
}

/// sums[r][c] = sum over p < limits[r] of weights[r][p] * values[p][c], p in order, for `count` (1 to 4) rows.
/// `ahead` (may be null) is as large a matrix to fetch. With `add` the chains go on from what `sums` has.
template <typename T>
void weighted_sum(std::int64_t count, const float* weights, std::int64_t weight_stride, const std::int64_t* limits,
                  const T* values, std::int64_t value_stride, std::int64_t head_size, const T* ahead, bool add, float* sums) {
  switch (count) {
    case 1: return weighted_rows<1>(weights, weight_stride, limits, values, value_stride, head_size, ahead, add, sums);
    case 2: return weighted_rows<2>(weights, weight_stride, limits, values, value_stride, head_size, ahead, add, sums);
    case 3: return weighted_rows<3>(weights, weight_stride, limits, values, value_stride, head_size, ahead, add, sums);
    default: return weighted_rows<4>(weights, weight_stride, limits, values, value_stride, head_size, ahead, add, sums);
  }
}

TROUPE_INLINE std::int64_t blocks_of(std::int64_t positions) { return (positions + kKeyBlock - 1) / kKeyBlock; }

}  // namespace troupe::TROUPE_ISA
