#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace troupe {

/// A sum of doubles, none of them negative, that does not depend on their order: in fixed point without any rounding (Kulisch & Miranker
/// 1986), rounded once to the nearest double. At most 2^31 numbers.
class ExactSum {
 public:
  static constexpr std::size_t kLimbs = 67;

  ExactSum() = default;
  /// Of what others added up: limb i counts 2^(32 i - 1074), and may be more than 32 bits say; `special` is the sum of those that are
  /// infinite or NaN.
  ExactSum(std::span<const std::uint64_t, kLimbs> limbs, double special) : special_(special) {
    for (std::size_t i = 0; i < kLimbs; ++i) put(i, limbs[i]);
  }

  /// What is negative or no finite number makes the value NaN or infinite.
  void add(std::span<const double> values) {
    unsigned __int128 pending = 0;  // of numbers that begin in the same limb
    std::size_t limb = 0;
    for (const double x : values) {
      const auto bits = std::bit_cast<std::uint64_t>(x);
      const std::uint64_t exponent = bits >> 52;
      if (exponent >= 0x7ff) {
        special_ += x < 0 ? std::nan("") : x;
        continue;
      }
      const std::uint64_t mantissa = (bits & kFraction) | (exponent > 0 ? kFraction + 1 : 0);
      const std::uint64_t place = exponent > 0 ? exponent - 1 : 0;  // of its lowest bit, above 2^-1074
      if (place / 32 != limb) {
        put(limb, std::exchange(pending, 0));
        limb = place / 32;
      }
      pending += static_cast<unsigned __int128>(mantissa) << place % 32;
    }
    put(limb, pending);
  }
  void add(double x) { add(std::span(&x, 1)); }

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
  void put(std::size_t limb, unsigned __int128 sum) {
    for (std::size_t i = limb; sum != 0; ++i, sum >>= 32) limbs_[i] += static_cast<std::uint32_t>(sum);
  }

  static constexpr std::uint64_t kFraction = (std::uint64_t{1} << 52) - 1;
  std::array<std::uint64_t, kLimbs> limbs_{};  // of 32 bits, and room for what is carried
  double special_ = 0;
};

}  // namespace troupe
