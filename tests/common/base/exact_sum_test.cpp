#include "common/base/exact_sum.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using namespace troupe;

namespace {

ExactSum sum_of(const std::vector<double>& values) {
  ExactSum sum;
  for (const double value : values) sum.add(value);
  return sum;
}

}  // namespace

TEST_SUITE("base/exact_sum") {
  TEST_CASE("the order and the parts of a sum change no bit of it") {
    std::mt19937_64 random(7);
    std::vector<double> values;
    for (int i = 0; i < 5000; ++i) values.push_back(std::ldexp(std::uniform_real_distribution(1.0, 2.0)(random), static_cast<int>(random() % 200) - 100));
    const double expected = sum_of(values).value();
    double plain = 0;
    for (const double value : values) plain += value;
    CHECK(expected == doctest::Approx(plain).epsilon(1e-12));
    for (int turn = 0; turn < 5; ++turn) {
      std::shuffle(values.begin(), values.end(), random);
      CHECK(sum_of(values).value() == expected);
      ExactSum parts = sum_of({values.begin(), values.begin() + 777});
      parts.add(sum_of({values.begin() + 777, values.end()}));
      CHECK(parts.value() == expected);
      ExactSum together;
      together.add(values);
      CHECK(together.value() == expected);
    }
  }

  TEST_CASE("what doubles would lose is kept, and rounded to the nearest once") {
    const double large = std::ldexp(1.0, 53);
    CHECK(sum_of({large, 1.0}).value() == large);              // a tie goes to the even one
    CHECK(sum_of({large, 1.0, 1.0}).value() == large + 2.0);
    CHECK(sum_of({large, 1.0, 1e-300}).value() == large + 2.0);  // above the tie
    CHECK(sum_of({1.0, large, large, 1.0}).value() == 2 * large + 2.0);
    std::vector<double> many(4096, 0.1);
    CHECK(sum_of(many).value() == 4096 * 0.1);
    CHECK(sum_of({}).value() == 0);
  }

  TEST_CASE("from the smallest to the largest") {
    const double smallest = std::numeric_limits<double>::denorm_min(), largest = std::numeric_limits<double>::max();
    CHECK(sum_of({smallest}).value() == smallest);
    CHECK(sum_of({smallest, smallest, std::numeric_limits<double>::min()}).value() == std::numeric_limits<double>::min() + 2 * smallest);
    CHECK(sum_of({largest}).value() == largest);
    CHECK(std::isinf(sum_of({largest, largest}).value()));
    CHECK(std::isinf(sum_of({1.0, std::numeric_limits<double>::infinity()}).value()));
    CHECK(std::isnan(sum_of({1.0, std::nan(""), 2.0}).value()));
    CHECK(std::isnan(sum_of({1.0, -1.0}).value()));
  }

  TEST_CASE("limbs that others added up are carried") {
    std::array<std::uint64_t, ExactSum::kLimbs> limbs{};
    limbs[33] = std::uint64_t{1} << 40 | 3;
    limbs[34] = 5;
    const auto part = [](double value, int limb) { return std::ldexp(value, 32 * limb - 1074); };
    CHECK(ExactSum(limbs, 0).value() == part(std::ldexp(1.0, 40) + 3, 33) + part(5, 34));
    CHECK(std::isinf(ExactSum(limbs, std::numeric_limits<double>::infinity()).value()));
    CHECK(std::isnan(ExactSum(limbs, std::nan("")).value()));
  }
}
