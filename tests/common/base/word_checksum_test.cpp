#include "common/base/word_checksum.h"

#include <doctest/doctest.h>

#include <cstring>
#include <set>
#include <string>

namespace troupe {
namespace {

TEST_SUITE("base/word_checksum") {
  TEST_CASE("is the sum of the terms of the words, by hand") {
    CHECK(word_checksum("") == 0);
    // Word 0 is 1: 1 ^ k = 0x9E3779B97F4A7C14 with k the golden ratio's; xor of its upper half, times the prime, xor of the upper half.
    std::uint64_t word = 0x9E3779B97F4A7C14;
    word ^= 0x9E3779B9;
    word *= 0xD6E8FEB86659FD93;
    word ^= word >> 32;
    CHECK(word_term(1, 0) == word);
    const std::string bytes = std::string("\x01\0\0\0\0\0\0\0", 8) + std::string("\x02\0\0", 3);
    CHECK(word_checksum(bytes) == word_term(1, 0) + word_term(2, 1));
  }

  TEST_CASE("every flipped bit and every swap of words changes it") {
    std::string bytes(83, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 37 + 11);
    std::set<std::uint64_t> sums = {word_checksum(bytes)};
    std::size_t changes = 1;
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit, ++changes) {
      std::string changed = bytes;
      changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
      sums.insert(word_checksum(changed));
    }
    for (std::size_t a = 0; a < 10; ++a) {
      for (std::size_t b = 0; b < a; ++b, ++changes) {
        std::string changed = bytes;
        std::memcpy(changed.data() + 8 * a, bytes.data() + 8 * b, 8);
        std::memcpy(changed.data() + 8 * b, bytes.data() + 8 * a, 8);
        sums.insert(word_checksum(changed));
      }
    }
    CHECK(sums.size() == changes);
  }

  TEST_CASE("zeros count by their place, so a run that was cut is told") {
    std::set<std::uint64_t> sums;
    for (std::size_t words = 0; words < 8; ++words) sums.insert(word_checksum(std::string(8 * words, '\0')));
    CHECK(sums.size() == 8);
  }
}

}  // namespace
}  // namespace troupe
