#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define TROUPE_ANYWHERE __host__ __device__
#else
#define TROUPE_ANYWHERE
#endif

namespace troupe {

/// What the 8-byte word `word` at `index` adds to a word checksum: a bijection of the word that depends on its place. For the CPU and
/// the GPU.
TROUPE_ANYWHERE inline std::uint64_t word_term(std::uint64_t word, std::uint64_t index) {
  word ^= (index + 1) * 0x9E3779B97F4A7C15;
  word ^= word >> 32;
  word *= 0xD6E8FEB86659FD93;
  return word ^ (word >> 32);
}

}  // namespace troupe

#undef TROUPE_ANYWHERE
