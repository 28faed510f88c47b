#include "common/base/random.h"

#include <array>
#include <cmath>
#include <set>

#include <doctest/doctest.h>

using namespace troupe;

TEST_SUITE("base/random") {
  TEST_CASE("philox gives the known answers of Random123") {
    // kat_vectors of Random123 1.14, philox4x32 10.
    struct Case {
      std::array<std::uint32_t, 4> counter;
      std::array<std::uint32_t, 2> key;
      std::array<std::uint32_t, 4> expected;
    };
    const Case cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    for (const Case& c : cases) CHECK(philox4x32(c.counter, c.key) == c.expected);
  }

  TEST_CASE("a uniform is the first 53 bits of philox under key = seed, counter = (group, sample, position)") {
    // The third known answer: group 0x85a308d3'243f6a88, seed 0x299f31d0'a4093822.
    const double expected = std::ldexp(static_cast<double>(0xd16cfe0994fdccebull >> 11), -53);

    CHECK(uniform_at(0x299f31d0a4093822ull, 0x85a308d3243f6a88ull, 0x13198a2e, 0x03707344) == expected);
    CHECK(uniform_at(0, 0, 0, 0) == std::ldexp(static_cast<double>(0x6627e8d5e169c58dull >> 11), -53));
  }

  TEST_CASE("every part of the place changes the draw") {
    const double base = uniform_at(7, 1, 2, 3);
    const std::set<double> draws = {base,
                                    uniform_at(8, 1, 2, 3),
                                    uniform_at(7 + (1ull << 32), 1, 2, 3),
                                    uniform_at(7, 2, 2, 3),
                                    uniform_at(7, 1 + (1ull << 32), 2, 3),
                                    uniform_at(7, 1, 3, 3),
                                    uniform_at(7, 1, 2, 4)};

    CHECK(draws.size() == 7);
    CHECK(uniform_at(7, 1, 2, 3) == base);
  }

  TEST_CASE("uniforms lie in [0, 1) and have the mean and variance of a uniform") {
    double sum = 0;
    double squares = 0;
    constexpr int kDraws = 100000;

    for (std::uint32_t i = 0; i < kDraws; ++i) {
      const double u = uniform_at(3, i / 100, i % 10, i / 10 % 10);
      REQUIRE(u >= 0.0);
      REQUIRE(u < 1.0);
      sum += u;
      squares += u * u;
    }

    // Five standard errors: sqrt(1/12 / n) = 0.0009 for the mean, sqrt(4/45 / n) = 0.00094 for the mean square.
    CHECK(std::abs(sum / kDraws - 0.5) < 0.0046);
    CHECK(std::abs(squares / kDraws - 1.0 / 3) < 0.0047);
  }

  TEST_CASE("normals are the Box-Muller transform and have mean 0, variance 1") {
    double sum = 0;
    double squares = 0;
    constexpr int kDraws = 100000;

    for (std::uint64_t i = 0; i < kDraws; ++i) {
      const double z = normal_at(11, i);
      REQUIRE(std::isfinite(z));
      sum += z;
      squares += z * z;
    }

    // Five standard errors: 1 / sqrt(n) = 0.0032 and sqrt(2 / n) = 0.0045.
    CHECK(std::abs(sum / kDraws) < 0.016);
    CHECK(std::abs(squares / kDraws - 1.0) < 0.023);
    CHECK(normal_at(11, 5) == normal_at(11, 5));
    // From the second known answer, worked out in Python.
    CHECK(normal_at(~0ull, ~0ull) == doctest::Approx(-0.5113334990961309).epsilon(1e-14));
    CHECK(normal_at(11, 5) != normal_at(11, 5 + (1ull << 32)));
    CHECK(normal_at(11, 5) != normal_at(12, 5));
  }

  TEST_CASE("streams of one seed, and one stream of two seeds, have different keys") {
    std::set<std::uint64_t> keys;
    for (const std::uint64_t seed : {0ull, 1ull, 2ull, 1ull << 32}) {
      for (const Stream stream : {Stream::kSampling, Stream::kEvaluation, Stream::kColdStart, Stream::kInitialWeights,
                                  Stream::kData}) {
        keys.insert(seed_for(seed, stream));
      }
    }

    CHECK(keys.size() == 20);
    CHECK(seed_for(0, Stream::kSampling) == 0x6627e8d5e169c58dull);
  }
}
