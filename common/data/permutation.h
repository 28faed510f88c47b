#pragma once

#include <cstdint>

namespace troupe {

/// Where `index` < `size` goes in a shuffle of 0 … size-1: a bijection that is a pure function of (seed, round), so
/// that no order need be stored. A balanced Feistel network of Philox rounds over the next even power of two, applied
/// until the result is below `size` (cycle walking; Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA
/// 2002).
std::uint64_t permuted(std::uint64_t index, std::uint64_t size, std::uint64_t seed, std::uint64_t round);

}  // namespace troupe
