#include "common/data/permutation.h"

#include <bit>

#include "common/base/error.h"
#include "common/base/random.h"

namespace troupe {
namespace {

constexpr std::uint32_t kRounds = 12;  // small domains need more than the four that large ones do

}  // namespace

std::uint64_t permuted(std::uint64_t index, std::uint64_t size, std::uint64_t seed, std::uint64_t round) {
  check(index < size && size <= std::uint64_t{1} << 62, "index beyond the size of a permutation");
  if (size == 1) return 0;
  const int half_bits = (static_cast<int>(std::bit_width(size - 1)) + 1) / 2;
  const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;
  const std::array<std::uint32_t, 2> key = {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
  std::uint64_t value = index;
  do {
    std::uint64_t left = value >> half_bits;
    std::uint64_t right = value & mask;
    for (std::uint32_t i = 0; i < kRounds; ++i) {
      // The halves have at most 31 bits, the round number 61 in the rest of the counter.
      const auto bits = philox4x32({static_cast<std::uint32_t>(right), i, static_cast<std::uint32_t>(round),
                                    static_cast<std::uint32_t>(round >> 32)},
                                   key);
      const std::uint64_t mixed = left ^ (bits[0] & mask);
      left = right;
      right = mixed;
    }
    value = left << half_bits | right;
  } while (value >= size);
  return value;
}

}  // namespace troupe
