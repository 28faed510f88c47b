#include "common/model/kernels/simd/table.h"
#include "common/model/kernels/simd/vector.h"

// The optimizer's passes over the flat vectors. Plain loops, which the compiler makes vectors of: nothing here is a sum over lanes.

namespace troupe::TROUPE_ISA {

/// The order of operations of torch's _single_tensor_adamw.
static void update(float* __restrict p, float* __restrict m, float* __restrict v, const float* __restrict g, std::int64_t count,
                   const AdamWStep& c) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float grad = g[i] * c.clip;
    m[i] += c.beta1_rest * (grad - m[i]);
    v[i] = v[i] * c.beta2 + c.beta2_rest * grad * grad;
    p[i] = p[i] * c.decay - c.step_size * m[i] / (__builtin_sqrtf(v[i]) / c.root2 + c.eps);
  }
}

void adamw(float* parameters, float* exp_avg, float* exp_avg_sq, const float* gradients, std::int64_t count, const AdamWStep& step,
           Bf16* rounded) {
  constexpr std::int64_t kAtOnce = 1024;  // stay in the first-level cache until they are rounded
  for (std::int64_t begin = 0; begin < count; begin += kAtOnce) {
    const std::int64_t part = count - begin < kAtOnce ? count - begin : kAtOnce;
    update(parameters + begin, exp_avg + begin, exp_avg_sq + begin, gradients + begin, part, step);
    for (std::int64_t i = begin; rounded != nullptr && i < begin + part; i += 16) {
      store_upto(rounded + i, load_upto(parameters + i, begin + part - i), begin + part - i);
    }
  }
}

void block_squares(const float* values, std::int64_t blocks, std::int64_t size, double* sums) {
  constexpr std::int64_t kChains = 8;  // an addition waits for the one before it in its block alone
  std::int64_t block = 0;
  for (; block + kChains <= blocks; block += kChains) {
    double chains[kChains] = {};
    for (std::int64_t i = 0; i < size; ++i) {
      for (std::int64_t c = 0; c < kChains; ++c) {
        const auto value = static_cast<double>(values[(block + c) * size + i]);
        chains[c] += value * value;
      }
    }
    for (std::int64_t c = 0; c < kChains; ++c) sums[block + c] = chains[c];
  }
  for (; block < blocks; ++block) {
    sums[block] = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      const auto value = static_cast<double>(values[block * size + i]);
      sums[block] += value * value;
    }
  }
}

template <typename T>
void fill_update(Kernels<T>& table) {
  table.adamw = adamw;
  table.block_squares = block_squares;
}
template void fill_update(Kernels<float>&);
template void fill_update(Kernels<Bf16>&);

}  // namespace troupe::TROUPE_ISA
