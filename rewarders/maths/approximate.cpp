#include <algorithm>
#include <array>
#include <cmath>

#include <boost/math/constants/constants.hpp>

#include "rewarders/maths/calculus.h"
#include "rewarders/maths/complex_arithmetic.h"
#include "rewarders/maths/evaluate.h"
#include "rewarders/maths/real.h"
#include "rewarders/maths/vocabulary.h"

namespace troupe {
namespace {

/// The value of a tree at a point.
template <typename Real>
class Approximator : private ComplexArithmetic<Real> {
 public:
  using Value = Approximation<Real>;
  using Result = std::optional<Value>;

  Approximator(const MathPoint& point, bool allow_complex, MathMeter& meter)
      : ComplexArithmetic<Real>(allow_complex, meter), point_(point) {}

  Result value(const MathNode& node) {
    if (!meter_.spend(kFast ? (++steps_ % 16 == 0 ? 1 : 0) : 1)) return std::nullopt;
    switch (node.kind) {
      case MathKind::kNumber: return long_real(node.number);
      case MathKind::kConstant: return constant(node.name);
      case MathKind::kSymbol: case MathKind::kText: {
        const Rational* bound = point_.find(node.name);
        return bound == nullptr ? std::nullopt : real(*bound);
      }
      case MathKind::kNegate: return scaled(value(node.parts[0]), Real(-1));
      case MathKind::kSum: case MathKind::kProduct: return folded(node);
      case MathKind::kQuotient: return divided(value(node.parts[0]), value(node.parts[1]));
      case MathKind::kPower: return power(node.parts[0], node.parts[1]);
      case MathKind::kPercent: return divided(value(node.parts[0]), real(100));
      case MathKind::kDegrees: return degrees(node.parts[0]);
      case MathKind::kQuantity: case MathKind::kBased: return value(node.parts[0]);
      case MathKind::kApply: return applied(node);
      default: return std::nullopt;
    }
  }

 private:
  using Base = ComplexArithmetic<Real>;
  using Base::added;
  using Base::allow_complex_;
  using Base::constant;
  using Base::divided;
  using Base::exponential;
  using Base::hyperbolic;
  using Base::inverse;
  using Base::inverse_hyperbolic;
  using Base::is_real;
  using Base::is_zero;
  using Base::kFast;
  using Base::kFunctionCost;
  using Base::logarithm;
  using Base::long_real;
  using Base::meter_;
  using Base::multiplied;
  using Base::parts_of_complex;
  using Base::raised;
  using Base::real;
  using Base::rounded;
  using Base::scaled;
  using Base::size;
  using Base::trigonometric;
  using Base::whole_power;

  Result folded(const MathNode& node) {
    const bool sum = node.is(MathKind::kSum);
    Result total = real(sum ? 0 : 1);
    for (const MathNode& part : node.parts) {
      if (!total) break;
      total = sum ? added(total, value(part)) : multiplied(total, value(part));
    }
    return total;
  }

  Result degrees(const MathNode& angle) {
    return angle_ ? scaled(value(angle), boost::math::constants::pi<Real>() / 180) : value(angle);
  }

  Result power(const MathNode& base_node, const MathNode& exponent_node) {
    using std::pow;
    if (!meter_.spend(kFunctionCost / 2)) return std::nullopt;
    if (base_node.is(MathKind::kConstant) && base_node.name == "e") {
      return meter_.spend(kFunctionCost) ? exponential(value(exponent_node)) : std::nullopt;
    }
    const Result base = value(base_node);
    if (!base) return std::nullopt;
    if (const auto exact = exact_value(exponent_node, point_, meter_)) {
      constexpr long kMaxExponent = 100'000;
      const auto whole = small_whole(*exact);
      if (whole && std::abs(*whole) <= kMaxExponent) return whole_power(*base, *whole);
    }
    return raised(*base, value(exponent_node));
  }

  /// \sqrt[n]{x}: for odd n the real root of a negative number, which is what people mean.
  Result root(const MathNode& node) {
    const Result inside = value(node.parts[0]);
    const auto degree = exact_value(node.parts[1], point_, meter_);
    if (!inside) return std::nullopt;
    const Result exponent = divided(real(1), value(node.parts[1]));
    const auto whole = degree ? small_whole(*degree) : std::nullopt;
    const bool odd = whole && *whole % 2 != 0;
    if (odd && is_real(*inside) && inside->re < 0) {
      return scaled(raised(Value{-inside->re, Real(0), inside->error}, exponent), Real(-1));
    }
    if (whole && *whole == 2 && is_real(*inside) && inside->re > 8 * inside->error) {
      using std::sqrt;
      const Real even = sqrt(inside->re);
      return rounded(even, Real(0), inside->error / even);
    }
    return raised(*inside, exponent);
  }

  Result applied(const MathNode& node) {
    const std::string& name = node.name;
    if (node.parts.empty() || !meter_.spend(kFunctionCost)) return std::nullopt;
    if (name == "root") return root(node);
    if (math_index(node) != nullptr) return over_index(node);
    if (name == "det") return determinant(node.parts[0]);
    if (name == "max" || name == "min") return extreme(node);
    static constexpr std::array<std::string_view, 7> kExactOnly = {"factorial", "binom", "gcd", "lcm", "mod", "floor", "ceil"};
    if (std::find(kExactOnly.begin(), kExactOnly.end(), name) != kExactOnly.end()) return exact_only(node);
    if (node.parts.size() == 2 && name == "log") return divided(logarithm(value(node.parts[0])), logarithm(value(node.parts[1])));
    if (node.parts.size() != 1) return unknown(node);
    if (is_trigonometric(name)) {
      const bool before = std::exchange(angle_, true);
      const Result angle = value(node.parts[0]);
      angle_ = before;
      return trigonometric(name, angle);
    }
    if (name == "abs" || name == "Re" || name == "Im" || name == "arg") return parts_of_complex(name, value(node.parts[0]));
    if (name == "ln") return logarithm(value(node.parts[0]));
    if (name.starts_with("arc")) {
      const Result inside = value(node.parts[0]);
      return name.ends_with('h') ? inverse_hyperbolic(name, inside) : inverse(name, inside);
    }
    if (is_hyperbolic(name)) return hyperbolic(name, value(node.parts[0]));
    return unknown(node);
  }

  /// What is exact or, for rounding downwards and upwards, surely between two whole numbers.
  Result exact_only(const MathNode& node) {
    using std::ceil;
    using std::floor;
    if (const auto exact = exact_value(node, point_, meter_)) return long_real(*exact);
    if (node.name != "floor" && node.name != "ceil") return std::nullopt;
    const Result inside = value(node.parts[0]);
    if (!inside || !is_real(*inside) || floor(inside->re - inside->error) != floor(inside->re + inside->error)) return std::nullopt;
    return rounded(node.name == "floor" ? floor(inside->re) : ceil(inside->re), Real(0), Real(0));
  }

  Result extreme(const MathNode& node) {
    Result best;
    for (const MathNode& part : node.parts) {
      const Result next = value(part);
      if (!next || !is_real(*next)) return std::nullopt;
      if (!best || (node.name == "max") == (next->re > best->re)) best = next;
    }
    return best;
  }

  Result determinant(const MathNode& matrix) {
    const auto rows = static_cast<std::size_t>(matrix.columns);
    if (!matrix.is(MathKind::kMatrix) || rows * rows != matrix.parts.size() || rows > 5) return std::nullopt;
    std::vector<std::size_t> columns(rows);
    for (std::size_t i = 0; i < rows; ++i) columns[i] = i;
    return minor(matrix, columns);
  }

  /// The determinant of the last columns.size() rows in these columns.
  Result minor(const MathNode& matrix, const std::vector<std::size_t>& columns) {
    if (columns.empty()) return real(1);
    const auto rows = static_cast<std::size_t>(matrix.columns);
    const std::size_t row = rows - columns.size();
    Result total = real(0);
    for (std::size_t i = 0; i < columns.size(); ++i) {
      std::vector<std::size_t> rest = columns;
      rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(i));
      const Result product = multiplied(value(matrix.parts[row * rows + columns[i]]), minor(matrix, rest));
      total = added(total, scaled(product, Real(i % 2 == 0 ? 1 : -1)));
    }
    return total;
  }

  /// The body of a sum, integral or limit as a function of its index.
  auto body_of(const MathNode& node) {
    return [this, &node](const Rational& index) -> Result {
      if (!meter_.spend(2)) return std::nullopt;
      MathPoint inner = point_;
      inner.values.insert(inner.values.begin(), {node.parts[1].name, index});
      return Approximator(inner, allow_complex_, meter_).value(node.parts[0]);
    };
  }

  Result over_index(const MathNode& node) {
    constexpr long kMaxTerms = 200;
    if (node.name == "int" || node.name == "lim") return by_calculus(node);
    if (node.parts.size() != 4) return unknown(node);
    if (node.name == "sum") {
      if (const auto exact = exact_value(node, point_, meter_)) return long_real(*exact);
      if (math_infinity(node.parts[3]) > 0) return by_calculus(node);
    }
    const auto low = exact_value(node.parts[2], point_, meter_);
    const auto high = exact_value(node.parts[3], point_, meter_);
    if (!low || !high || !is_whole(*low) || !is_whole(*high) || *high - *low >= kMaxTerms) return unknown(node);
    const auto body = body_of(node);
    Result total = real(node.name == "sum" ? 0 : 1);
    for (Rational k = *low; k <= *high && total; k += 1) {
      total = node.name == "sum" ? added(total, body(k)) : multiplied(total, body(k));
    }
    return total;
  }

  /// An integral, a limit or an infinite sum, in 50 digits alone; what does not converge is unknown.
  Result by_calculus(const MathNode& node) {
    if constexpr (kFast) {
      return std::nullopt;
    } else {
      const auto end = [&](std::size_t part) -> std::optional<MathReal> {
        const int infinite = math_infinity(node.parts[part]);
        if (infinite != 0) return infinite * std::numeric_limits<MathReal>::infinity();
        const Result at = value(node.parts[part]);
        return at && is_real(*at) ? std::optional(at->re) : std::nullopt;
      };
      const bool definite = node.parts.size() == (node.name == "lim" ? 3 : 4);
      if (!definite) return unknown(node);
      Result found;
      const auto low = node.name == "sum" ? std::optional(MathReal(0)) : end(2);
      const auto high = node.name == "int" ? end(3) : low;
      if (!low || !high) return unknown(node);
      if (!meter_.spend(40 * kFunctionCost)) return std::nullopt;  // of the rules themselves
      if (node.name == "lim") found = limit_of(body_of(node), *low);
      if (node.name == "int") found = integral_of(body_of(node), *low, *high);
      if (node.name == "sum") {
        const auto first = exact_value(node.parts[2], point_, meter_);
        if (first && is_whole(*first)) found = infinite_series(body_of(node), *first);
      }
      const bool sharp = found && found->error <= MathReal(1e-22) * (1 + size(*found));
      return sharp ? found : unknown(node);
    }
  }

  /// An arbitrary smooth function of the arguments, fixed by name: two unknown expressions agree if name and arguments do.
  Result unknown(const MathNode& node) {
    std::uint64_t hash = 1469598103934665603ULL;
    for (const char c : node.name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    MathPoint inner = point_;
    if (const std::string* index = math_index(node)) inner.values.insert(inner.values.begin(), {*index, Rational(1234, 997)});
    Approximator inside(inner, allow_complex_, meter_);
    Result total = real(0);
    for (const MathNode& part : node.parts) {
      hash = hash * 6364136223846793005ULL + 1442695040888963407ULL;
      const Result weight = real(Rational(static_cast<long>(1000 + hash % 1000), 1000));
      const Result shift = real(Rational(static_cast<long>(hash / 1000 % 1000), 500));
      const Result argument = part.is(MathKind::kConstant) && part.name == "inf" ? real(7919) : inside.value(part);
      total = added(total, trigonometric("sin", added(shift, multiplied(weight, argument))));
    }
    return total;
  }

  const MathPoint& point_;
  bool angle_ = false;
  unsigned steps_ = 0;
};

}  // namespace

template <typename Real>
std::optional<Approximation<Real>> approximate(const MathNode& node, const MathPoint& point, bool allow_complex, MathMeter& meter) {
  return Approximator<Real>(point, allow_complex, meter).value(node);
}

template std::optional<Approximation<double>> approximate<double>(const MathNode&, const MathPoint&, bool, MathMeter&);
template std::optional<Approximation<MathReal>> approximate<MathReal>(const MathNode&, const MathPoint&, bool, MathMeter&);

}  // namespace troupe
