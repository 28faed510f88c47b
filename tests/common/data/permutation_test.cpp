#include "common/data/permutation.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <vector>

using troupe::permuted;

TEST_SUITE("data/permutation") {
  TEST_CASE("every index goes to a place of its own, for sizes around the powers of two") {
    for (const std::uint64_t size :
         {1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 15u, 16u, 17u, 64u, 65u, 100u, 1000u, 1024u, 4097u}) {
      std::set<std::uint64_t> places;
      for (std::uint64_t i = 0; i < size; ++i) {
        const std::uint64_t place = permuted(i, size, 42, 3);
        CHECK(place < size);
        places.insert(place);
      }
      CHECK(places.size() == size);
    }
  }

  TEST_CASE("all 24 orders of four things come about equally often") {
    std::vector<int> count(256);
    const int rounds = 24000;
    for (std::uint64_t round = 0; round < rounds; ++round) {
      std::uint64_t order = 0;
      for (std::uint64_t i = 0; i < 4; ++i) order = order * 4 + permuted(i, 4, 1, round);
      ++count[order];
    }
    double chi_squared = 0;
    int orders = 0;
    for (const int c : count) {
      if (c == 0) continue;
      ++orders;
      chi_squared += std::pow(c - 1000.0, 2) / 1000.0;
    }
    CHECK(orders == 24);
    CHECK(chi_squared < 60);  // 23 degrees of freedom: exceeded by chance once in 30,000
  }

  TEST_CASE("a large index goes to a place that only seed and round decide") {
    const std::uint64_t size = 1'000'000'007;
    CHECK(permuted(123456789, size, 1, 0) == permuted(123456789, size, 1, 0));
    CHECK(permuted(123456789, size, 1, 0) != permuted(123456789, size, 2, 0));
    CHECK(permuted(123456789, size, 1, 0) != permuted(123456789, size, 1, 1));
    CHECK(permuted(123456789, size, 1, 0) != permuted(123456789, size, 1, std::uint64_t{1} << 32));
    CHECK(permuted(123456789, size, 1, 0) != permuted(123456789, size, std::uint64_t{1} << 32 | 1, 0));
  }
}
