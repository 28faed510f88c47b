#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "common/base/word_term.h"

namespace troupe {

/// The sum modulo 2^64 of the terms of the bytes' little-endian words, the last one filled up with zeros. Parts may be added in any
/// order, so a GPU and a CPU come to the same. Every change within one word changes it, others but for one in 2^64; it does
/// not withstand an adversary.
inline std::uint64_t word_checksum(std::span<const std::byte> bytes) {
  std::uint64_t sum = 0, index = 0, word = 0;
  for (; (index + 1) * sizeof(word) <= bytes.size(); ++index) {
    std::memcpy(&word, bytes.data() + index * sizeof(word), sizeof(word));
    sum += word_term(word, index);
  }
  if (const std::size_t done = index * sizeof(word); done < bytes.size()) {
    word = 0;
    std::memcpy(&word, bytes.data() + done, bytes.size() - done);
    sum += word_term(word, index);
  }
  return sum;
}
inline std::uint64_t word_checksum(std::string_view bytes) { return word_checksum(std::as_bytes(std::span(bytes))); }

}  // namespace troupe
