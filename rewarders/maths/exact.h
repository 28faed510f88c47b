#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <boost/multiprecision/cpp_int.hpp>

namespace troupe {

using Integer = boost::multiprecision::cpp_int;
using Rational = boost::multiprecision::cpp_rational;

/// What one comparison may still cost, in units of about a microsecond; an answer is data of a stranger. Once it is used up
/// every evaluation gives up, and so does one that meets a number of more than `kMaxBits` bits.
class MathMeter {
 public:
  static constexpr unsigned kMaxBits = 20'480;  // 2006! just fits

  /// False once the budget is used up.
  bool spend(std::int64_t units) { return (left_ -= units) >= 0; }
  /// Whether a product or sum of the two fits and may be paid for.
  bool affords(const Rational& a, const Rational& b);
  /// Whether their greatest common divisor may be paid for.
  bool affords_divisor(const Rational& a, const Rational& b);

  /// Something has no value: a division by zero, the logarithm of zero, the factorial of -1.
  void meet_undefined() { undefined_ = true; }
  bool undefined() const { return undefined_; }

 private:
  std::int64_t left_ = 5000;
  bool undefined_ = false;
};

/// Their sum and product, and the number with the other sign; of whole numbers without the common divisors that Boost takes even of
/// -a, which are dearer than all the rest.
Rational exact_sum(const Rational& a, const Rational& b);
Rational exact_product(const Rational& a, const Rational& b);
Rational exact_negative(const Rational& value);

/// The value of digits with an optional point, digits that repeat in parentheses ("0.1(6)") and an exponent ("1.5e-3").
/// Nothing for anything else, over 1,000 characters, or an exponent beyond 1,000.
std::optional<Rational> decimal_value(std::string_view text);

/// base^exponent where it is rational: whole exponents, and roots that come out even (of a negative base for odd roots only
/// where `real_roots`). Nothing where it is irrational, undefined (the meter is told) or too large.
std::optional<Rational> exact_power(const Rational& base, const Rational& exponent, bool real_roots, MathMeter& meter);

/// n! of a whole number from 0 to 2,100; else nothing.
std::optional<Rational> exact_factorial(const Rational& n, MathMeter& meter);

/// n over k of whole numbers, 0 <= k <= n <= 10^6 with min(k, n - k) <= 1,000; 0 for k > n; else nothing.
std::optional<Rational> exact_binomial(const Rational& n, const Rational& k, MathMeter& meter);

bool is_whole(const Rational& value);
/// The bits of its numerator or denominator, whichever is longer.
unsigned bits_of(const Rational& value);
/// The largest whole number that is not above `value`.
Integer floor_of(const Rational& value);
/// The whole number as a long, where it is one within ±10^9.
std::optional<long> small_whole(const Rational& value);

}  // namespace troupe
