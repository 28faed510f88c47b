#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>

#include <boost/math/constants/constants.hpp>

#include "rewarders/maths/evaluate.h"
#include "rewarders/maths/real.h"
#include "rewarders/maths/vocabulary.h"

namespace troupe {
namespace {

/// Complex arithmetic with an error that is carried along; nothing where a result is undefined or not finite.
template <typename Real>
class Approximator {
 public:
  using Value = Approximation<Real>;
  using Result = std::optional<Value>;

  Approximator(const MathPoint& point, bool allow_complex, MathMeter& meter)
      : point_(point), allow_complex_(allow_complex), meter_(meter) {}

  Result value(const MathNode& node) {
    if (!meter_.spend(kFast ? (++steps_ % 16 == 0 ? 1 : 0) : 1)) return std::nullopt;
    switch (node.kind) {
      case MathKind::kNumber: return real(node.number);
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
  static constexpr bool kFast = std::is_same_v<Real, double>;
  static constexpr int kFunctionCost = kFast ? 1 : 40;

  static Real epsilon() { return std::numeric_limits<Real>::epsilon(); }
  static Real size(const Value& v) {
    using std::abs;
    return abs(v.re) + abs(v.im);
  }

  /// The value with its own rounding added to the error that its operands gave it.
  static Result rounded(Real re, Real im, Real error) {
    using std::abs;
    using std::isfinite;
    error += 4 * epsilon() * (abs(re) + abs(im));
    if (!isfinite(re) || !isfinite(im) || !isfinite(error)) return std::nullopt;
    return Value{std::move(re), std::move(im), std::move(error)};
  }

  static Result real(const Rational& number) {
    return rounded(number.convert_to<Real>(), Real(0), Real(0));
  }

  static Result constant(const std::string& name) {
    if (name == "pi") return rounded(boost::math::constants::pi<Real>(), Real(0), Real(0));
    if (name == "e") return rounded(boost::math::constants::e<Real>(), Real(0), Real(0));
    if (name == "i") return rounded(Real(0), Real(1), Real(0));
    return std::nullopt;
  }

  static bool is_zero(const Value& v) { return size(v) <= 8 * v.error; }
  static bool is_real(const Value& v) { return v.im == 0; }

  static Result added(const Result& a, const Result& b) {
    if (!a || !b) return std::nullopt;
    return rounded(a->re + b->re, a->im + b->im, a->error + b->error);
  }

  static Result multiplied(const Result& a, const Result& b) {
    if (!a || !b) return std::nullopt;
    const Real error = size(*a) * b->error + size(*b) * a->error + a->error * b->error;
    if (is_real(*a) && is_real(*b)) return rounded(a->re * b->re, Real(0), error);
    return rounded(a->re * b->re - a->im * b->im, a->re * b->im + a->im * b->re, error);
  }

  static Result scaled(const Result& a, const Real& factor) {
    if (!a) return std::nullopt;
    using std::abs;
    return rounded(a->re * factor, a->im * factor, a->error * abs(factor));
  }

  Result divided(const Result& a, const Result& b) {
    if (!a || !b) return std::nullopt;
    if (is_zero(*b)) {
      meter_.meet_undefined();
      return std::nullopt;
    }
    const Real square = b->re * b->re + b->im * b->im;
    const Real re = (a->re * b->re + a->im * b->im) / square;
    const Real im = is_real(*a) && is_real(*b) ? Real(0) : Real((a->im * b->re - a->re * b->im) / square);
    using std::abs;
    return rounded(re, im, (a->error + (abs(re) + abs(im)) * b->error) * 2 / size(*b));
  }

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

  Result exponential(const Result& a) {
    using std::cos;
    using std::exp;
    using std::sin;
    if (!a) return std::nullopt;
    const Real length = exp(a->re);
    if (is_real(*a)) return rounded(length, Real(0), length * a->error);
    return rounded(length * cos(a->im), length * sin(a->im), length * a->error * 2);
  }

  Result logarithm(const Result& a) {
    using std::atan2;
    using std::log;
    if (!a) return std::nullopt;
    if (is_zero(*a)) {
      meter_.meet_undefined();
      return std::nullopt;
    }
    const Real error = a->error * 2 / size(*a);
    if (is_real(*a) && a->re > 0) return rounded(log(a->re), Real(0), error);
    if (!allow_complex_) return std::nullopt;
    using std::abs;
    const Real im = abs(a->im) <= a->error ? Real(0) : a->im;  // rounding must not choose the branch
    return rounded(log(a->re * a->re + im * im) / 2, atan2(im, a->re), error);
  }

  Result power(const MathNode& base_node, const MathNode& exponent_node) {
    using std::pow;
    if (!meter_.spend(kFunctionCost / 4)) return std::nullopt;
    const Result base = value(base_node);
    if (!base) return std::nullopt;
    if (const auto exact = exact_value(exponent_node, point_, meter_)) {
      constexpr long kMaxExponent = 100'000;
      const auto whole = small_whole(*exact);
      if (whole && std::abs(*whole) <= kMaxExponent) return whole_power(*base, *whole);
    }
    return raised(*base, value(exponent_node));
  }

  Result whole_power(const Value& base, long exponent) {
    if (exponent < 0) return divided(real(1), whole_power(base, -exponent));
    Result result = real(1);
    Result square = base;
    for (long left = exponent; left > 0 && result; left /= 2) {
      if (left % 2 == 1) result = multiplied(result, square);
      if (left > 1) square = multiplied(square, square);
    }
    return result;
  }

  Result raised(const Value& base, const Result& exponent) {
    using std::abs;
    using std::log;
    using std::pow;
    if (!exponent || !meter_.spend(kFunctionCost)) return std::nullopt;
    if (is_zero(base)) {
      if (exponent->re > 0) return real(0);
      meter_.meet_undefined();
      return std::nullopt;
    }
    if (!is_real(base) || base.re < 0 || !is_real(*exponent)) {
      if (!allow_complex_ && (!is_real(base) || base.re < 0)) return std::nullopt;
      return exponential(multiplied(exponent, logarithm(base)));
    }
    const Real result = pow(base.re, exponent->re);
    return rounded(result, Real(0), abs(result) * (abs(exponent->re) * base.error / base.re + abs(log(base.re)) * exponent->error));
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
    return raised(*inside, exponent);
  }

  Result trigonometric(const std::string& name, const Result& a) {
    using std::cos;
    using std::cosh;
    using std::sin;
    using std::sinh;
    if (!a) return std::nullopt;
    const Real growth = is_real(*a) ? Real(1) : Real(cosh(a->im));
    const Real sinh_im = is_real(*a) ? Real(0) : Real(sinh(a->im));
    const auto sine = [&] { return rounded(sin(a->re) * growth, cos(a->re) * sinh_im, 2 * growth * a->error); };
    const auto cosine = [&] { return rounded(cos(a->re) * growth, -sin(a->re) * sinh_im, 2 * growth * a->error); };
    if (name == "sin") return sine();
    if (name == "cos") return cosine();
    if (name == "tan") return divided(sine(), cosine());
    if (name == "cot") return divided(cosine(), sine());
    return divided(real(1), name == "sec" ? cosine() : sine());
  }

  Result inverse(const std::string& name, const Result& a) {
    using std::acos;
    using std::asin;
    using std::atan;
    using std::sqrt;
    if (!a || !is_real(*a)) return std::nullopt;
    if (name == "arctan") return rounded(atan(a->re), Real(0), a->error);
    if (name == "arccot") return added(scaled(constant("pi"), Real(0.5)), rounded(-atan(a->re), Real(0), a->error));
    if (name == "arcsec" || name == "arccsc") return inverse(name == "arcsec" ? "arccos" : "arcsin", divided(real(1), a));
    const Real inside = 1 - a->re * a->re;
    if (inside < -8 * a->error) return std::nullopt;
    const Real clipped = std::min(Real(1), std::max(Real(-1), a->re));
    const Real slope = inside > a->error ? Real(1 / sqrt(inside)) : Real(1 / sqrt(a->error + epsilon()));
    return rounded(name == "arcsin" ? asin(clipped) : acos(clipped), Real(0), 2 * slope * a->error);
  }

  Result hyperbolic(const std::string& name, const Result& a) {
    const Result up = exponential(a);
    const Result down = exponential(scaled(a, Real(-1)));
    const Result cosine = scaled(added(up, down), Real(0.5));
    const Result sine = scaled(added(up, scaled(down, Real(-1))), Real(0.5));
    if (name == "coth") return divided(cosine, sine);
    if (name == "sech" || name == "csch") return divided(real(1), name == "sech" ? cosine : sine);
    return name == "sinh" ? sine : name == "cosh" ? cosine : divided(sine, cosine);
  }

  /// By the logarithms that they are: arcsinh x = ln(x + \sqrt{x^2 + 1}).
  Result inverse_hyperbolic(const std::string& name, const Result& a) {
    using std::sqrt;
    if (!a || !is_real(*a)) return std::nullopt;
    if (name == "arctanh") {
      const Result ratio = divided(added(real(1), a), added(real(1), scaled(a, Real(-1))));
      return ratio && ratio->re > 0 ? scaled(logarithm(ratio), Real(0.5)) : std::nullopt;
    }
    if (name == "arcsinh" && a->re < 0) return scaled(inverse_hyperbolic(name, scaled(a, Real(-1))), Real(-1));
    if (name == "arccosh" && a->re < 1) return std::nullopt;
    const Result square = added(multiplied(a, a), real(name == "arcsinh" ? 1 : -1));
    return square ? logarithm(added(a, is_zero(*square) ? real(0) : raised(*square, real(Rational(1, 2))))) : std::nullopt;
  }

  Result parts_of_complex(const std::string& name, const Result& a) {
    using std::atan2;
    using std::sqrt;
    if (!a) return std::nullopt;
    if (name == "Re") return rounded(a->re, Real(0), a->error);
    if (name == "Im") return rounded(a->im, Real(0), a->error);
    if (name == "arg") return is_zero(*a) ? std::nullopt : rounded(atan2(a->im, a->re), Real(0), 2 * a->error / size(*a));
    const Real length = is_real(*a) ? Real(a->re < 0 ? -a->re : a->re) : Real(sqrt(a->re * a->re + a->im * a->im));
    return rounded(length, Real(0), 2 * a->error);
  }

  Result applied(const MathNode& node) {
    const std::string& name = node.name;
    if (node.parts.empty() || !meter_.spend(kFunctionCost)) return std::nullopt;
    if (name == "root") return root(node);
    if (name == "sum" || name == "prod") return repeated(node);
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
    if (const auto exact = exact_value(node, point_, meter_)) return real(*exact);
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

  /// A sum or product over whole bounds, term by term.
  Result repeated(const MathNode& node) {
    constexpr long kMaxTerms = 200;
    if (node.parts.size() != 4 || !node.parts[1].is(MathKind::kSymbol)) return unknown(node);
    const auto low = exact_value(node.parts[2], point_, meter_);
    const auto high = exact_value(node.parts[3], point_, meter_);
    if (!low || !high || !is_whole(*low) || !is_whole(*high) || *high - *low >= kMaxTerms) return unknown(node);
    Result total = real(node.name == "sum" ? 0 : 1);
    for (Rational k = *low; k <= *high && total; k += 1) {
      if (!meter_.spend(2)) return std::nullopt;
      MathPoint inner = point_;
      inner.values.insert(inner.values.begin(), {node.parts[1].name, k});
      const Result term = Approximator(inner, allow_complex_, meter_).value(node.parts[0]);
      total = node.name == "sum" ? added(total, term) : multiplied(total, term);
    }
    return total;
  }

  /// An arbitrary smooth function of the arguments, fixed by name: two unknown expressions agree if name and arguments do.
  Result unknown(const MathNode& node) {
    std::uint64_t hash = 1469598103934665603ULL;
    for (const char c : node.name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    Result total = real(0);
    for (const MathNode& part : node.parts) {
      hash = hash * 6364136223846793005ULL + 1442695040888963407ULL;
      const Result weight = real(Rational(static_cast<long>(1000 + hash % 1000), 1000));
      const Result shift = real(Rational(static_cast<long>(hash / 1000 % 1000), 500));
      const Result argument = part.is(MathKind::kConstant) && part.name == "inf" ? real(7919) : value(part);
      total = added(total, trigonometric("sin", added(shift, multiplied(weight, argument))));
    }
    return total;
  }

  const MathPoint& point_;
  bool allow_complex_;
  MathMeter& meter_;
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
