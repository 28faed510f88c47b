#include "rewarders/maths/exact.h"

#include <doctest/doctest.h>

#include <string>

namespace troupe {

TEST_SUITE("rewarders/maths/exact") {
  TEST_CASE("decimals are read exactly, with repeating digits and exponents") {
    CHECK(*decimal_value("007") == 7);
    CHECK(*decimal_value(".25") == Rational(1, 4));
    CHECK(*decimal_value("1.5e-3") == Rational(3, 2000));
    CHECK(*decimal_value("2E3") == 2000);
    CHECK(*decimal_value("0.(3)") == Rational(1, 3));
    CHECK(*decimal_value("0.1(6)") == Rational(1, 6));
    CHECK(*decimal_value("12.(9)") == 13);
    for (const char* bad : {"", ".", "1e", "1e1001", "1.2.3", "0.()", "0.(3", "x", "1 "}) {
      CAPTURE(bad);
      CHECK_FALSE(decimal_value(bad));
    }
    CHECK_FALSE(decimal_value(std::string(1001, '1')));
  }

  TEST_CASE("powers are exact where they are rational") {
    MathMeter meter;
    CHECK(*exact_power(Rational(2, 3), -3, false, meter) == Rational(27, 8));
    CHECK(*exact_power(Rational(-2), -3, false, meter) == Rational(-1, 8));
    CHECK(*exact_power(Rational(16, 81), Rational(3, 4), false, meter) == Rational(8, 27));
    CHECK(*exact_power(-1, Rational("1000000000000000000000"), false, meter) == 1);
    CHECK(*exact_power(-8, Rational(1, 3), true, meter) == -2);
    CHECK_FALSE(exact_power(-8, Rational(1, 3), false, meter));
    CHECK_FALSE(exact_power(2, Rational(1, 2), false, meter));
    CHECK_FALSE(exact_power(-4, Rational(1, 2), true, meter));
    CHECK_FALSE(exact_power(2, 100'000, false, meter));
    CHECK_FALSE(meter.undefined());
    CHECK(*exact_power(0, 2, false, meter) == 0);
    CHECK_FALSE(exact_power(0, -1, false, meter));
    CHECK(meter.undefined());
  }

  TEST_CASE("factorials, binomials and floors of whole numbers are exact within bounds") {
    MathMeter meter;
    CHECK(*exact_factorial(5, meter) == 120);
    CHECK(*exact_factorial(0, meter) == 1);
    CHECK_FALSE(exact_factorial(2101, meter));
    CHECK_FALSE(exact_factorial(Rational(1, 2), meter));
    CHECK(*exact_binomial(5, 2, meter) == 10);
    CHECK(*exact_binomial(100, 98, meter) == 4950);
    CHECK(*exact_binomial(2, 3, meter) == 0);
    CHECK_FALSE(exact_binomial(-2, 3, meter));
    CHECK(floor_of(Rational(-7, 2)) == -4);
    CHECK(floor_of(Rational(7, 2)) == 3);
    CHECK(floor_of(-3) == -3);
    CHECK(small_whole(Rational(7)) == 7);
    CHECK_FALSE(small_whole(Rational(7, 2)));
    CHECK_FALSE(small_whole(Rational("10000000000")));
    CHECK_FALSE(exact_factorial(-1, meter));
    CHECK(meter.undefined());
  }

  TEST_CASE("a meter runs out") {
    MathMeter meter;
    CHECK(meter.spend(5000));
    CHECK_FALSE(meter.spend(1));
    CHECK_FALSE(meter.affords(1, 1));
  }
}

}  // namespace troupe
