#include "rewarders/maths/exact.h"

#include <algorithm>
#include <string>

namespace troupe {
namespace {

namespace mp = boost::multiprecision;

constexpr std::size_t kMaxDecimalLength = 1000;
constexpr long kMaxDecimalExponent = 1000;

unsigned whole_bits(const Integer& value) { return value == 0 ? 1 : mp::msb(value < 0 ? Integer(-value) : value) + 1; }

/// Microseconds that the greatest common divisor of two numbers of so many bits takes: it subtracts and shifts.
std::int64_t gcd_cost(std::int64_t bits) { return bits * bits / 20'000; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The digits as a number; leading zeros would make it octal.
Integer whole_of(std::string_view digits) {
  const std::size_t first = digits.find_first_not_of('0');
  return first == std::string_view::npos ? Integer(0) : Integer(std::string(digits.substr(first)));
}

Integer ten_to(long power) { return mp::pow(Integer(10), static_cast<unsigned>(power)); }

std::string_view take_digits(std::string_view& text) {
  std::size_t end = 0;
  while (end < text.size() && is_digit(text[end])) ++end;
  const std::string_view digits = text.substr(0, end);
  text.remove_prefix(end);
  return digits;
}

/// The exponent of "e-3"; nothing where the text goes on after it or it is too large. An empty text is 0.
std::optional<long> exponent_of(std::string_view text) {
  if (text.empty()) return 0;
  if (text[0] != 'e' && text[0] != 'E') return std::nullopt;
  text.remove_prefix(1);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const std::string_view digits = take_digits(text);
  if (digits.empty() || digits.size() > 4 || !text.empty()) return std::nullopt;
  const long exponent = std::stol(std::string(digits));
  if (exponent > kMaxDecimalExponent) return std::nullopt;
  return negative ? -exponent : exponent;
}

/// The whole n-th root where it comes out even.
std::optional<Integer> whole_root(const Integer& value, unsigned n) {
  if (value < 2) return value;
  if (n == 2) {
    Integer rest;
    const Integer root = mp::sqrt(value, rest);
    return rest == 0 ? std::optional(root) : std::nullopt;
  }
  if (n >= whole_bits(value)) return std::nullopt;
  Integer low = Integer(1) << ((whole_bits(value) - 1) / n);
  Integer high = low << 1;
  while (low < high) {
    const Integer middle = (low + high) / 2;
    if (mp::pow(middle, n) < value) low = middle + 1; else high = middle;
  }
  return mp::pow(low, n) == value ? std::optional(low) : std::nullopt;
}

std::optional<Rational> exact_root(const Rational& value, unsigned n, bool real_roots, MathMeter& meter) {
  constexpr unsigned kMaxRootBits = 2048;  // the search below is cubic in the bits
  const bool negative = value < 0;
  if (bits_of(value) > kMaxRootBits || !meter.spend(1 + bits_of(value) / 64)) return std::nullopt;
  if (negative && (n % 2 == 0 || !real_roots)) return std::nullopt;
  const auto top = whole_root(mp::abs(mp::numerator(value)), n);
  if (!top) return std::nullopt;
  const auto bottom = whole_root(mp::denominator(value), n);
  if (!bottom) return std::nullopt;
  const Rational root(*top, *bottom);
  return negative ? Rational(-root) : root;
}

}  // namespace

unsigned bits_of(const Rational& value) { return std::max(whole_bits(mp::numerator(value)), whole_bits(mp::denominator(value))); }

bool MathMeter::affords(const Rational& a, const Rational& b) {
  const std::int64_t a_bits = bits_of(a);
  const std::int64_t b_bits = bits_of(b);
  if (a_bits > kMaxBits || b_bits > kMaxBits) return false;
  if (is_whole(a) && is_whole(b)) return spend(1 + a_bits * b_bits / 5'000'000);
  return spend(3 + gcd_cost(a_bits + b_bits));
}

bool MathMeter::affords_divisor(const Rational& a, const Rational& b) {
  return affords(a, b) && spend(gcd_cost(bits_of(a) + bits_of(b)));
}

Rational exact_sum(const Rational& a, const Rational& b) {
  return is_whole(a) && is_whole(b) ? Rational(Integer(mp::numerator(a) + mp::numerator(b))) : Rational(a + b);
}

Rational exact_negative(const Rational& value) {
  return is_whole(value) ? Rational(Integer(-mp::numerator(value))) : Rational(-value);
}

Rational exact_product(const Rational& a, const Rational& b) {
  return is_whole(a) && is_whole(b) ? Rational(Integer(mp::numerator(a) * mp::numerator(b))) : Rational(a * b);
}

std::optional<Rational> decimal_value(std::string_view text) {
  if (text.size() > kMaxDecimalLength) return std::nullopt;
  const std::string_view whole = take_digits(text);
  std::string_view fraction;
  std::string_view repeating;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    fraction = take_digits(text);
    if (text.starts_with('(')) {
      text.remove_prefix(1);
      repeating = take_digits(text);
      if (repeating.empty() || !text.starts_with(')')) return std::nullopt;
      text.remove_prefix(1);
    }
  }
  if (whole.empty() && fraction.empty() && repeating.empty()) return std::nullopt;
  const auto exponent = exponent_of(text);
  if (!exponent) return std::nullopt;
  Integer top = whole_of(std::string(whole) + std::string(fraction));
  Integer bottom = 1;
  if (!repeating.empty()) {
    bottom = ten_to(static_cast<long>(repeating.size())) - 1;
    top = top * bottom + whole_of(repeating);
  }
  const long scale = *exponent - static_cast<long>(fraction.size());
  (scale > 0 ? top : bottom) *= ten_to(std::abs(scale));
  return bottom == 1 ? Rational(top) : Rational(top, bottom);
}

bool is_whole(const Rational& value) { return mp::denominator(value) == 1; }

Integer floor_of(const Rational& value) {
  const Integer top = mp::numerator(value);
  const Integer bottom = mp::denominator(value);
  const Integer quotient = top / bottom;  // towards zero
  return top < 0 && quotient * bottom != top ? Integer(quotient - 1) : quotient;
}

std::optional<long> small_whole(const Rational& value) {
  constexpr long kSmall = 1'000'000'000;
  if (!is_whole(value) || value > kSmall || value < -kSmall) return std::nullopt;
  return mp::numerator(value).convert_to<long>();
}

std::optional<Rational> exact_power(const Rational& base, const Rational& exponent, bool real_roots, MathMeter& meter) {
  if (!is_whole(exponent)) {
    const auto root = small_whole(Rational(mp::denominator(exponent)));
    if (!root || *root > 64) return std::nullopt;
    const auto whole = exact_root(base, static_cast<unsigned>(*root), real_roots, meter);
    if (!whole) return std::nullopt;
    return exact_power(*whole, Rational(mp::numerator(exponent)), real_roots, meter);
  }
  if (base == 0) {
    if (exponent < 0) meter.meet_undefined();
    if (exponent <= 0) return exponent == 0 ? std::optional(Rational(1)) : std::nullopt;
    return Rational(0);
  }
  if (base == 1) return Rational(1);
  if (base == -1) return mp::numerator(exponent) % 2 == 0 ? Rational(1) : Rational(-1);
  const auto power = small_whole(exponent);
  if (!power) return std::nullopt;
  const auto size = static_cast<unsigned long>(std::abs(*power));
  const std::uint64_t bits = std::uint64_t{bits_of(base)} * size;
  if (bits > MathMeter::kMaxBits + 64) return std::nullopt;
  constexpr std::int64_t kDearest = 200;  // what costs more is left to approximation
  const auto size_bits = static_cast<std::int64_t>(bits);
  const std::int64_t cost = is_whole(base) && *power > 0 ? size_bits * size_bits / 5'000'000 : gcd_cost(size_bits);
  if (cost > kDearest || !meter.spend(1 + cost)) return std::nullopt;
  const Integer top = mp::pow(mp::numerator(base), static_cast<unsigned>(size));
  if (is_whole(base) && *power > 0) return Rational(top);  // of a pair the gcd would be taken, which is dearer than the power
  const Integer bottom = mp::pow(mp::denominator(base), static_cast<unsigned>(size));
  return *power > 0 ? Rational(top, bottom) : Rational(Rational(bottom) / Rational(top));  // a pair wants its second positive
}

std::optional<Rational> exact_factorial(const Rational& n, MathMeter& meter) {
  constexpr long kMaxFactorial = 2100;
  const auto whole = small_whole(n);
  if (whole && *whole < 0) meter.meet_undefined();
  if (!whole || *whole < 0 || *whole > kMaxFactorial || !meter.spend(1 + *whole / 4)) return std::nullopt;
  Integer product = 1;
  for (long i = 2; i <= *whole; ++i) product *= i;
  return Rational(product);
}

std::optional<Rational> exact_binomial(const Rational& n, const Rational& k, MathMeter& meter) {
  constexpr long kMaxN = 1'000'000;
  constexpr long kMaxK = 1000;
  const auto all = small_whole(n);
  const auto chosen = small_whole(k);
  if (!all || !chosen || *all < 0 || *chosen < 0 || *all > kMaxN) return std::nullopt;
  if (*chosen > *all) return Rational(0);
  const long steps = std::min(*chosen, *all - *chosen);
  if (steps > kMaxK || !meter.spend(1 + steps)) return std::nullopt;
  Integer value = 1;
  for (long i = 1; i <= steps; ++i) value = value * (*all - steps + i) / i;
  return Rational(value);
}

}  // namespace troupe
