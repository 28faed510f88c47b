#include "common/model/kernels/simd/table.h"
#include "common/model/kernels/simd/vector.h"

// Drawing a token from a row of logits. Probabilities are added in double, in eight lanes and a fixed tree for each block of 64.

namespace troupe::TROUPE_ISA {

constexpr std::int64_t kBlock = 64;

/// e^x for x <= 0 to 2 units in the last place, 0 below -87: Cody-Waite reduction and Cephes' polynomial, without fused operations.
TROUPE_INLINE V16 unfused_exp(V16 x) {
  const V16 round = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const V16 low = all(-87.0f);
  const V16 clamped = x < low ? low : x;
  const V16 shifted = clamped * 1.44269504f + round;
  const V16 n = shifted - round;
  const V16 r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  V16 poly = all(1.9875691500e-4f);
  poly = poly * r + 1.3981999507e-3f;
  poly = poly * r + 8.3334519073e-3f;
  poly = poly * r + 4.1665795894e-2f;
  poly = poly * r + 1.6666665459e-1f;
  poly = poly * r + 5.0000001201e-1f;
  poly = poly * r * r + r + 1.0f;
  const I16 exponent = bits_as<I16>(shifted) - bits_as<I16>(round);
  const V16 power = bits_as<V16>((exponent + 127) << 23);
  return x < low ? V16{} : poly * power;
}

bool all_finite(const float* logits, std::int64_t vocabulary) {
  U16 bad{};
  for (std::int64_t i = 0; i < vocabulary; i += 16) {
    const I16 exponent = bits_as<I16>(load_upto(logits + i, vocabulary - i)) & 0x7f800000;
    bad |= bits_as<U16>(exponent == 0x7f800000);
  }
  std::uint32_t any = 0;
  for (int lane = 0; lane < 16; ++lane) any |= bad[lane];
  return any == 0;
}

std::int64_t first_highest(const float* logits, std::int64_t vocabulary) {
  constexpr std::int64_t kPart = 1024;
  float top = -__builtin_inff();
  std::int64_t index = 0;  // where the part with the highest begins
  for (std::int64_t start = 0; start < vocabulary; start += kPart) {
    const std::int64_t end = vocabulary - start < kPart ? vocabulary : start + kPart;
    V16 peak = all(-__builtin_inff());
    for (std::int64_t i = start; i < end; i += 16) peak = larger(peak, load_upto(logits + i, end - i, -__builtin_inff()));
    if (max_lanes(peak) <= top) continue;
    top = max_lanes(peak);
    index = start;
  }
  while (logits[index] != top) ++index;
  return index;
}

/// The probabilities of 64 tokens from `logits` on, of which there are `left`; 0 past them.
static void probabilities(const float* logits, std::int64_t left, float temperature, float lse, float* block) {
  for (std::int64_t i = 0; i < kBlock; i += 16) {
    store(block + i, i < left ? unfused_exp(load_upto(logits + i, left - i, -__builtin_inff()) / temperature - lse) : V16{});
  }
}

static double total_of(const float* block) {
  double lanes[8] = {};
  for (std::int64_t i = 0; i < kBlock; i += 8) {
    for (std::int64_t lane = 0; lane < 8; ++lane) lanes[lane] += static_cast<double>(block[i + lane]);
  }
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

std::int64_t invert_cdf(const float* logits, std::int64_t vocabulary, float temperature, float lse, double uniform) {
  alignas(64) float block[kBlock];
  double below = 0;                // probability of everything before the block
  std::int64_t last_possible = 0;  // the last index so far with any probability
  for (std::int64_t start = 0; start < vocabulary; start += kBlock) {
    const std::int64_t size = vocabulary - start < kBlock ? vocabulary - start : kBlock;
    probabilities(logits + start, size, temperature, lse, block);
    const double total = total_of(block);
    if (total > 0) {
      last_possible = start + size - 1;
      while (block[last_possible - start] <= 0) --last_possible;
    }
    if (uniform < below + total) {
      for (std::int64_t i = 0; i < size; ++i) {
        below += static_cast<double>(block[i]);
        if (uniform < below) return start + i;
      }
      return last_possible;
    }
    below += total;
  }
  return last_possible;
}

template <typename T>
void fill_draw(Kernels<T>& table) {
  table.all_finite = all_finite;
  table.first_highest = first_highest;
  table.invert_cdf = invert_cdf;
}
template void fill_draw(Kernels<float>&);
template void fill_draw(Kernels<Bf16>&);

}  // namespace troupe::TROUPE_ISA
