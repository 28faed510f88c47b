#include "common/model/kernels/simd/attention_inner.h"
#include "common/model/kernels/simd/table.h"

namespace troupe::TROUPE_ISA {

/// Turns scores of `limit` keys into exp(score - max); blocks past the limit are not read.
struct Softmax {
  float max, sum;
};
static Softmax exponentiate(float* scores, std::int64_t limit) {
  V16 peak = all(-__builtin_inff());
  for (std::int64_t j = 0; j < limit; j += 16) peak = larger(peak, load_upto(scores + j, limit - j, -__builtin_inff()));
  const float top = max_lanes(peak);
  V16 sums{};
  for (std::int64_t j = 0; j < limit; j += 16) {
    const V16 p = exp(load_upto(scores + j, limit - j, -__builtin_inff()) - top);
    store(scores + j, p);
    sums += p;
  }
  return {top, sum_lanes(sums)};
}

/// The scores of `count` rows against the positions before `limit`, range by range. A range's last block may spill over into
/// the next one's scores, which are written after it.
template <typename T>
static void score_ranges(const AttentionRun<T>& run, std::int64_t count, const float* queries, std::int64_t limit,
                         bool fetch_values, float* scores, std::int64_t stride) {
  std::int64_t start = 0;
  for (const KeyRange<T>* range = run.ranges; start < limit; start += range++->positions) {
    const std::int64_t positions = limit - start < range->positions ? limit - start : range->positions;
    score(count, queries, run.head_size, range->key_blocks, blocks_of(positions), fetch_values ? range->values : nullptr,
          scores + start, stride);
  }
}

/// The weighted sums of the values before limits[r], range by range in one chain.
template <typename T>
static void sum_ranges(const AttentionRun<T>& run, std::int64_t count, const float* weights, std::int64_t stride,
                       const std::int64_t* limits, bool fetch_next, float* sums) {
  std::int64_t start = 0;
  for (std::int64_t i = 0; start < limits[count - 1]; start += run.ranges[i++].positions) {
    std::int64_t within[kQueryRows];
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t left = limits[r] - start;
      within[r] = left < 0 ? 0 : left < run.ranges[i].positions ? left : run.ranges[i].positions;
    }
    const T* ahead = fetch_next && i < run.next_range_count ? run.next_ranges[i].key_blocks : nullptr;
    weighted_sum(count, weights + start, stride, within, run.ranges[i].values, run.value_stride, run.head_size, ahead, start > 0,
                 sums);
  }
}

template <typename T>
void attend(const AttentionRun<T>& run, float* scratch) {
  const std::int64_t d = run.head_size, rows = run.tokens * run.group;
  const std::int64_t stride = blocks_of(run.first_position + run.tokens) * kKeyBlock + kKeyBlock;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  float* queries = scratch;
  float* sums = queries + kQueryRows * (d + 16);
  float* scores = sums + kQueryRows * (d + 16);
  for (std::int64_t first = 0; first < rows; first += kQueryRows) {
    const std::int64_t count = rows - first < kQueryRows ? rows - first : kQueryRows;
    std::int64_t limits[kQueryRows];
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t token = (first + r) / run.group, head = (first + r) % run.group;
      const T* query = run.queries + token * run.query_stride + head * d;
      limits[r] = run.first_position + token + 1;
      for (std::int64_t c = 0; c < d; c += 16) store_upto(queries + r * d + c, load_upto(query + c, d - c) * scale, d - c);
    }
    score_ranges(run, count, queries, limits[count - 1], first == 0, scores, stride);
    Softmax softmax[kQueryRows];
    for (std::int64_t r = 0; r < count; ++r) softmax[r] = exponentiate(scores + r * stride, limits[r]);
    sum_ranges(run, count, scores, stride, limits, first == 0, sums);
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t token = (first + r) / run.group, head = (first + r) % run.group;
      T* output = run.outputs + token * run.output_stride + head * d;
      for (std::int64_t c = 0; c < d; c += 16) {
        store_upto(output + c, load_upto(sums + r * d + c, d - c) / softmax[r].sum, d - c);
      }
      if (run.lse != nullptr) {
        run.lse[token * run.lse_stride + head] =
            softmax[r].max + static_cast<float>(std::log(static_cast<double>(softmax[r].sum)));
      }
    }
  }
}

template <typename T>
void fill_attention(Kernels<T>& table) {
  table.attend = attend<T>;
}
template void fill_attention(Kernels<float>&);
template void fill_attention(Kernels<Bf16>&);

}  // namespace troupe::TROUPE_ISA
