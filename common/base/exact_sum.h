#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace troupe {

/// A sum of doubles, none of them negative, that does not depend on their order: in fixed point without any rounding (Kulisch & Miranker
/// 1986), rounded once to the nearest double. At most 2^31 numbers.
class ExactSum {
 public:
  /// What is negative or no finite number makes the value NaN or infinite.
  void add(double x) {
    const auto bits = std::bit_cast<std::uint64_t>(x);
    const std::uint64_t exponent = bits >> 52;
    if (exponent >= 0x7ff) {
      special_ += x < 0 ? std::nan("") : x;
      return;
    }
    const std::uint64_t mantissa = (bits & kFraction) | (exponent > 0 ? kFraction + 1 : 0);
    const std::uint64_t place = exponent > 0 ? exponent - 1 : 0;  // of its lowest bit, above 2^-1074
    const auto wide = static_cast<unsigned __int128>(mantissa) << place % 32;
    std::uint64_t* const at = limbs_.data() + place / 32;
    at[0] += static_cast<std::uint32_t>(wide);
    at[1] += static_cast<std::uint32_t>(wide >> 32);
    at[2] += static_cast<std::uint32_t>(wide >> 64);
  }

  void add(const ExactSum& other) {
    for (std::size_t i = 0; i < limbs_.size(); ++i) limbs_[i] += other.limbs_[i];
    special_ += other.special_;
  }

  double value() const {
    if (special_ != 0) return special_;
    std::array<std::uint64_t, kLimbs> limbs = limbs_;
    for (std::size_t i = 0; i + 1 < kLimbs; ++i) {
      limbs[i + 1] += limbs[i] >> 32;
      limbs[i] &= 0xffffffff;
    }
    std::size_t top = kLimbs - 1;
    while (top > 2 && limbs[top] == 0) --top;
    unsigned __int128 wide = static_cast<unsigned __int128>(limbs[top]) << 64 | limbs[top - 1] << 32 | limbs[top - 2];
    for (std::size_t i = 0; i + 2 < top; ++i) wide |= limbs[i] != 0 ? 1 : 0;  // below what is rounded: no tie
    return std::ldexp(static_cast<double>(wide), static_cast<int>(32 * (top - 2)) - 1074);
  }

 private:
  static constexpr std::uint64_t kFraction = (std::uint64_t{1} << 52) - 1;
  static constexpr std::size_t kLimbs = 67;
  std::array<std::uint64_t, kLimbs> limbs_{};  // of 32 bits, and room for what is carried
  double special_ = 0;
};

}  // namespace troupe
