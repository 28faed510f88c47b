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

template <typename T>
void attend(const AttentionRun<T>& run, float* scratch) {
  const std::int64_t d = run.head_size, rows = run.tokens * run.group;
  const std::int64_t stride = blocks_of(run.first_position + run.tokens) * kKeyBlock;
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
    score(count, queries, d, run.key_blocks, blocks_of(limits[count - 1]), first == 0 ? run.values : nullptr,
          scores, stride);
    Softmax softmax[kQueryRows];
    for (std::int64_t r = 0; r < count; ++r) softmax[r] = exponentiate(scores + r * stride, limits[r]);
    weighted_sum(count, scores, stride, limits, run.values, run.value_stride, d, first == 0 ? run.next_key_blocks : nullptr,
                 sums);
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
