#include "common/model/kernels/simd/table.h"
#include "common/model/kernels/simd/vector.h"

// z = logits / temperature, padded with -inf where the vocabulary is no multiple of 16: exp(-inf - lse) is exactly 0.

namespace troupe::TROUPE_ISA {

constexpr float kMinusInfinity = -__builtin_inff();

float log_sum_exp(const float* logits, std::int64_t vocabulary, float temperature) {
  V16 peak = all(kMinusInfinity);
  for (std::int64_t i = 0; i < vocabulary; i += 16) {
    peak = larger(peak, load_upto(logits + i, vocabulary - i, kMinusInfinity) / temperature);
  }
  const float top = max_lanes(peak);
  V16 sum{};
  for (std::int64_t i = 0; i < vocabulary; i += 16) {
    sum += exp(load_upto(logits + i, vocabulary - i, kMinusInfinity) / temperature - top);
  }
  return top + static_cast<float>(std::log(static_cast<double>(sum_lanes(sum))));
}

// Entropy = lse - sum p z, taken as -sum p (z - lse) so that large z do not cancel.
RowStatistics row_statistics(const float* logits, std::int64_t vocabulary, float temperature, std::int64_t target) {
  const float lse = log_sum_exp(logits, vocabulary, temperature);
  V16 sum{};
  for (std::int64_t i = 0; i < vocabulary; i += 16) {
    const V16 logp = load_upto(logits + i, vocabulary - i, kMinusInfinity) / temperature - lse;
    const V16 p = exp(logp);
    sum = p > 0.0f ? fma(p, logp, sum) : sum;  // 0 * -inf would be NaN
  }
  return {lse, logits[target] / temperature - lse, -sum_lanes(sum)};
}

template <typename T>
void logp_gradient(const float* logits, std::int64_t vocabulary, float temperature, float lse, std::int64_t target,
                   float grad_logp, T* grad) {
  const float scale = grad_logp / temperature;
  for (std::int64_t i = 0; i < vocabulary; i += 16) {
    const std::int64_t left = vocabulary - i;
    const V16 p = exp(load_upto(logits + i, left, kMinusInfinity) / temperature - lse);
    V16 d = p * -scale;
    if (target >= i && target < i + 16) d[target - i] = (1.0f - p[target - i]) * scale;
    store_upto(grad + i, d, left);
  }
}

template <typename T>
void fill_logits(Kernels<T>& table) {
  table.log_sum_exp = log_sum_exp;
  table.row_statistics = row_statistics;
  table.logp_gradient = logp_gradient<T>;
}
template void fill_logits(Kernels<float>&);
template void fill_logits(Kernels<Bf16>&);

}  // namespace troupe::TROUPE_ISA
