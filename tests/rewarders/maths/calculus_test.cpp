#include "rewarders/maths/calculus.h"

#include <doctest/doctest.h>

#include <limits>

#include "rewarders/maths/derivative.h"
#include "rewarders/maths/parser.h"

using namespace troupe;

namespace {

/// The function of a rational that this function of a real is, to 42 digits.
template <typename Function>
RealFunction of(const Function& f) {
  return [f](const Rational& x) {
    const MathReal value = f(x.convert_to<MathReal>());
    return std::optional(Approximation<MathReal>{value, MathReal(0), MathReal(1e-42) * abs(value)});
  };
}

/// Whether the value is this one, within its own bound and twenty digits.
bool is_near(const std::optional<Approximation<MathReal>>& found, const MathReal& wanted) {
  return found && abs(found->re - wanted) <= 64 * found->error && found->error < MathReal(1e-20);
}

const MathReal kInfinity = std::numeric_limits<MathReal>::infinity();

}  // namespace

TEST_SUITE("rewarders/maths/calculus") {
  TEST_CASE("sums of polynomials are exact however many terms they have, and a product of zeros is not taken for zero") {
    MathMeter meter;
    const auto square = [](const Rational& k) { return std::optional<Rational>(k * k); };
    CHECK(exact_series(square, 1, 10, meter) == Rational(385));
    CHECK(exact_series(square, 1, 1000, meter) == Rational(333'833'500));
    const auto zeros = [](const Rational& k) { return std::optional<Rational>(k * (k - 1) * (k - 2) * (k - 3) * (k - 4)); };
    CHECK(exact_series(zeros, 0, 299, meter) == Rational(300) * 299 * 298 * 297 * 296 * 295 / 6);
    const auto reciprocal = [](const Rational& k) { return std::optional<Rational>(1 / k); };
    CHECK_FALSE(exact_series(reciprocal, 1, 1000, meter));
  }

  TEST_CASE("integrals of polynomials are exact, of others nothing") {
    MathMeter meter;
    CHECK(exact_integral([](const Rational& x) { return std::optional<Rational>(x * x + 1); }, 0, 2, meter) == Rational(14, 3));
    CHECK(exact_integral([](const Rational& x) { return std::optional<Rational>(x); }, 1, 0, meter) == Rational(-1, 2));
    CHECK_FALSE(exact_integral([](const Rational& x) { return std::optional<Rational>(1 / (1 + x)); }, 0, 1, meter));
  }

  TEST_CASE("limits, series and integrals that converge are found to twenty digits, others are not claimed") {
    const auto one = MathReal(1);
    CHECK(is_near(limit_of(of([](const MathReal& x) { return sin(x) / x; }), 0), 1));
    CHECK(is_near(limit_of(of([&](const MathReal& x) { return pow(1 + one / x, x); }), kInfinity), exp(one)));
    CHECK_FALSE(is_near(limit_of(of([](const MathReal& x) { return sqrt(x); }), 0), 0));
    const auto power_sum = [&](int power) {
      return infinite_series(of([&](const MathReal& k) { return one / pow(k, power); }), 1);
    };
    const MathReal pi = acos(-one);
    CHECK(is_near(power_sum(2), pi * pi / 6));
    CHECK_FALSE(power_sum(1));
    CHECK_FALSE(infinite_series(of([](const MathReal& k) { return pow(MathReal(2), k); }), 0));
    CHECK(is_near(integral_of(of([](const MathReal& x) { return log(x); }), 0, 1), -1));
    CHECK(is_near(integral_of(of([](const MathReal& x) { return exp(-x); }), 0, kInfinity), 1));
    CHECK(is_near(integral_of(of([&](const MathReal& x) { return one / (1 + x * x); }), -kInfinity, kInfinity), pi));
  }

  TEST_CASE("a derivative of derivatives ends where it grows too large") {
    const auto tower = parse_math("\\sin(\\sin(\\sin(\\sin(\\sin(\\sin(x)x)x)x)x)x)", {}, nullptr);
    REQUIRE(tower);
    std::optional<MathNode> slope = *tower;
    int orders = 0;
    while (slope && orders < 20) {
      slope = derivative_of(*slope, "x");
      ++orders;
    }
    CHECK(orders > 1);
    CHECK(orders < 10);
    CHECK_FALSE(derivative_of(*parse_math("f(x)", {}, nullptr), "x"));
    CHECK(derivative_of(*parse_math("f(x)", {}, nullptr), "y"));
  }
}
