#include "rewarders/maths/scalar_equality.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "common/base/random.h"
#include "rewarders/maths/real.h"

namespace troupe {
namespace {

constexpr int kPointsNeeded = 3;
constexpr int kPointsTried = 8;
constexpr int kPointsOfSteps = 40;  // floors, and remainders, of two expressions agree at most points

bool is_symbolic(const MathNode& node) { return node.is(MathKind::kSymbol) || node.is(MathKind::kText); }

void collect_symbols(const MathNode& node, std::set<std::string>& names) {
  if (is_symbolic(node)) names.insert(node.name);
  const std::string* index = math_index(node);
  if (index == nullptr) {
    for (const MathNode& part : node.parts) collect_symbols(part, names);
    return;
  }
  std::set<std::string> inside;
  collect_symbols(node.parts[0], inside);
  if (node.name != "int" || node.parts.size() == 4) inside.erase(*index);  // an indefinite integral is a function of its variable
  names.merge(inside);
  for (std::size_t i = 2; i < node.parts.size(); ++i) collect_symbols(node.parts[i], names);
}

bool has_decimal(const MathNode& node) {
  return math_contains(node, [](const MathNode& part) { return part.decimal; });
}

/// Functions of whole numbers need whole points.
bool wants_whole_points(const MathNode& node) {
  return math_contains(node, [](const MathNode& part) {
    return part.is(MathKind::kApply) && (part.name == "factorial" || part.name == "binom" || part.name == "mod" ||
                                         part.name == "gcd" || part.name == "lcm" || part.name == "sum" || part.name == "prod");
  });
}

bool has_steps(const MathNode& node) {
  return math_contains(node, [](const MathNode& part) {
    return part.is(MathKind::kApply) && (part.name == "floor" || part.name == "ceil" || part.name == "mod");
  });
}

std::uint64_t hash_of(const std::string& name) {
  std::uint64_t hash = 1469598103934665603ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return hash;
}

/// Point number `index`: rationals of a prime denominator up to 4 in size, so that roots and logarithms have values; every other
/// symbol negative at the second point, the rest at the third, all at the fifth, so that \sqrt{x^2 y} is not x \sqrt{y}; the last
/// three below 1, for the arcsine; whole numbers from 2 to 9, later to 1,001, where asked for.
MathPoint point_at(const std::set<std::string>& names, int index, bool whole) {
  constexpr std::int64_t kDenominator = 997;
  MathPoint point;
  bool even = true;
  for (const std::string& name : names) {
    const std::uint64_t key = hash_of(name);
    const auto draw = philox4x32({static_cast<std::uint32_t>(index), 0, 0, 0},
                                 {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)});
    const std::int64_t size = 101 + draw[0] % ((index < 5 ? 4 : 1) * kDenominator - 101);
    const bool negative = !whole && (index == 4 || (index == 1 && even) || (index == 2 && !even));
    const auto count = static_cast<std::int64_t>(2 + draw[0] % (index < kPointsTried ? 8 : 1000));
    const Rational value = whole ? Rational(count) : Rational(size, kDenominator);
    point.values.emplace_back(name, negative ? Rational(-value) : value);
    even = !even;
  }
  return point;
}

template <typename Real>
struct Pair {
  Approximation<Real> gold;
  Approximation<Real> given;

  Real distance() const {
    using std::abs;
    return abs(gold.re - given.re) + abs(gold.im - given.im);
  }
  /// The values cannot be told apart: the carried error bounds are of first order, so they get some slack.
  bool agree() const { return distance() <= 64 * (gold.error + given.error); }
};

template <typename Real>
std::optional<Pair<Real>> both(const MathNode& gold, const MathNode& given, const MathPoint& point, bool complex,
                               MathMeter& meter) {
  const auto a = approximate<Real>(gold, point, complex, meter);
  if (!a) return std::nullopt;
  const auto b = approximate<Real>(given, point, complex, meter);
  if (!b) return std::nullopt;
  return Pair<Real>{*a, *b};
}

enum class Verdict { kSame, kDifferent, kUndecided };

Verdict same_at(const MathNode& gold, const MathNode& given, const MathPoint& point, bool complex, MathMeter& meter) {
  const auto exact_gold = exact_value(gold, point, meter);
  const auto exact_given = exact_gold ? exact_value(given, point, meter) : std::nullopt;
  if (exact_given) return *exact_gold == *exact_given ? Verdict::kSame : Verdict::kDifferent;
  const auto quick = both<double>(gold, given, point, complex, meter);
  if (quick && !quick->agree()) return Verdict::kDifferent;
  const auto sure = both<MathReal>(gold, given, point, complex, meter);
  if (!sure) return Verdict::kUndecided;
  // An error larger than this leaves nothing to compare: a sum that cancels, a sine of 10^60.
  const MathReal size = abs(sure->gold.re) + abs(sure->gold.im) + MathReal(1e-30);
  if (sure->gold.error + sure->given.error > size * MathReal(1e-20)) {
    return sure->agree() && sure->gold.error + sure->given.error < MathReal(1e-30) ? Verdict::kSame : Verdict::kDifferent;
  }
  return sure->agree() ? Verdict::kSame : Verdict::kDifferent;
}

bool same_function(const MathNode& gold, const MathNode& given, const std::set<std::string>& names, MathMeter& meter) {
  const bool steps = has_steps(gold) || has_steps(given);
  const bool whole = steps || wants_whole_points(gold) || wants_whole_points(given);
  const int tried = steps ? kPointsOfSteps : kPointsTried;
  for (const bool complex : {false, true}) {
    int same = 0;
    for (int index = 0; index < tried && (steps || same < kPointsNeeded); ++index) {
      const Verdict verdict = same_at(gold, given, point_at(names, index, whole), complex, meter);
      if (verdict == Verdict::kDifferent) return false;
      if (verdict == Verdict::kSame) ++same;
    }
    if (same > 0) return same >= kPointsNeeded;
  }
  return false;
}

/// The digits that count in a decimal: 0.0123 has 3.
int significant_places(const MathNode& number) {
  if (!number.is(MathKind::kNumber) || number.number == 0) return 0;
  const double size = std::abs(number.number.convert_to<double>());
  return number.places + static_cast<int>(std::floor(std::log10(size))) + 1;
}

const MathNode& without_sign(const MathNode& node) { return node.is(MathKind::kNegate) ? node.parts[0] : node; }

template <typename Value>
bool rounds_to(const Value& distance, const Value& size, const MathNode& gold, const MathNode& given) {
  if (distance <= Value(1) / 1'000'000 * std::min(Value(1), size)) return true;
  for (const MathNode* side : {&without_sign(gold), &without_sign(given)}) {
    if (!side->decimal || side->places < 6 || side->places > 300 || significant_places(*side) < 4) continue;
    Value half = Value(1) / 2;
    for (int i = 0; i < side->places; ++i) half = half / 10;
    if (distance <= half) return true;
  }
  return false;
}

template <typename Value>
bool rounded_alike(const Value& gold_value, const Value& given_value, const MathNode& gold, const MathNode& given) {
  const Value distance = abs(gold_value - given_value);
  return rounds_to(distance, std::max(Value(abs(gold_value)), Value(abs(given_value))), gold, given);
}

bool same_constant(const MathNode& gold, const MathNode& given, MathMeter& meter) {
  const MathPoint nowhere;
  const bool decimal = has_decimal(gold) || has_decimal(given);
  const auto exact_gold = exact_value(gold, nowhere, meter);
  const auto exact_given = exact_gold ? exact_value(given, nowhere, meter) : std::nullopt;
  if (exact_given) {
    if (*exact_gold == *exact_given) return true;
    if (!decimal) return false;
    constexpr unsigned kShort = 512;  // longer fractions are compared to 50 digits: their common divisors are dear
    if (bits_of(*exact_gold) > kShort || bits_of(*exact_given) > kShort) {
      return rounded_alike(exact_gold->convert_to<MathReal>(), exact_given->convert_to<MathReal>(), gold, given);
    }
    return rounded_alike(*exact_gold, *exact_given, gold, given);
  }
  if (!decimal) return same_at(gold, given, nowhere, true, meter) == Verdict::kSame;
  const auto values = both<MathReal>(gold, given, nowhere, true, meter);
  if (!values) return false;
  const MathReal size = std::max(abs(values->gold.re) + abs(values->gold.im), abs(values->given.re) + abs(values->given.im));
  return values->agree() || rounds_to(values->distance(), size, gold, given);
}

std::set<std::string> symbols_of_both(const MathNode& gold, const MathNode& given) {
  std::set<std::string> names;
  collect_symbols(gold, names);
  collect_symbols(given, names);
  return names;
}

MathNode product_of(const MathNode& a, const MathNode& b) { return math_node(MathKind::kProduct, "", a, b); }

/// The sign of a real value, 0 where it has none or is not surely different from 0.
int sign_at(const MathNode& node, const MathPoint& point, MathMeter& meter) {
  if (const auto exact = exact_value(node, point, meter)) return *exact > 0 ? 1 : *exact < 0 ? -1 : 0;
  const auto value = approximate<double>(node, point, false, meter);
  if (!value || std::abs(value->re) <= 64 * value->error) return 0;
  return value->re > 0 ? 1 : -1;
}

/// node at `point`, as a tree without symbols.
MathNode bound(const MathNode& node, const MathPoint& point) {
  if (is_symbolic(node)) {
    if (const Rational* value = point.find(node.name)) return math_number(*value);
  }
  MathNode copy = node;
  for (MathNode& part : copy.parts) part = bound(part, point);
  return copy;
}

}  // namespace

bool same_scalar(const MathNode& gold, const MathNode& given, MathMeter& meter) {
  const int gold_infinity = math_infinity(gold);
  if (gold_infinity != 0 || math_infinity(given) != 0) return gold_infinity == math_infinity(given);
  const std::set<std::string> names = symbols_of_both(gold, given);
  return names.empty() ? same_constant(gold, given, meter) : same_function(gold, given, names, meter);
}

Proportion proportion_of(const MathNode& gold, const MathNode& given, MathMeter& meter) {
  if (!meter.spend(10)) return Proportion::kNone;
  const std::set<std::string> names = symbols_of_both(gold, given);
  if (names.empty()) return Proportion::kNone;  // any two numbers are multiples of each other, which says nothing
  for (int index = 0; index < kPointsTried; ++index) {
    const MathPoint point = point_at(names, index, wants_whole_points(gold) || wants_whole_points(given));
    const int gold_sign = sign_at(gold, point, meter);
    const int given_sign = sign_at(given, point, meter);
    if (gold_sign == 0 || given_sign == 0) continue;
    // gold(x) given(p) = given(x) gold(p) for all x
    if (!same_scalar(product_of(gold, bound(given, point)), product_of(given, bound(gold, point)), meter)) return Proportion::kNone;
    return gold_sign == given_sign ? Proportion::kPositive : Proportion::kNegative;
  }
  return Proportion::kNone;
}

std::vector<std::string> symbols_of(const MathNode& node) {
  std::set<std::string> names;
  collect_symbols(node, names);
  return {names.begin(), names.end()};
}

}  // namespace troupe
