#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>

#include <boost/math/constants/constants.hpp>

#include "rewarders/maths/evaluate.h"
#include "rewarders/maths/real.h"
#include "rewarders/maths/vocabulary.h"

namespace troupe {

/// Complex arithmetic and the elementary functions, for Real = double or MathReal, with an error that is carried along; nothing
/// where a result is undefined (the meter is told), not finite, or not real where only reals are wanted.
template <typename Real>
class ComplexArithmetic {
 protected:
  using Value = Approximation<Real>;
  using Result = std::optional<Value>;

  ComplexArithmetic(bool allow_complex, MathMeter& meter) : allow_complex_(allow_complex), meter_(meter) {}

  static constexpr bool kFast = std::is_same_v<Real, double>;
  static constexpr int kFunctionCost = kFast ? 1 : 7;  // a sine; an exponential is two of it, an arctangent four, a power six

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

  static Result real(const Rational& number) { return rounded(number.convert_to<Real>(), Real(0), Real(0)); }

  /// A rational of any length, which takes its time to convert.
  Result long_real(const Rational& number) {
    const unsigned bits = bits_of(number);
    return bits < 256 || meter_.spend(bits / 32) ? real(number) : std::nullopt;
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

  Result exponential(const Result& a) {
    using std::cos;
    using std::exp;
    using std::sin;
    if (!a || !meter_.spend(kFunctionCost)) return std::nullopt;
    const Real length = exp(a->re);
    if (is_real(*a)) return rounded(length, Real(0), length * a->error);
    return rounded(length * cos(a->im), length * sin(a->im), length * a->error * 2);
  }

  Result logarithm(const Result& a) {
    using std::atan2;
    using std::log;
    if (!a || !meter_.spend(kFunctionCost)) return std::nullopt;
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
    if (!exponent || !meter_.spend(6 * kFunctionCost)) return std::nullopt;
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
    if (!a || !is_real(*a) || !meter_.spend(4 * kFunctionCost)) return std::nullopt;
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

  bool allow_complex_;
  MathMeter& meter_;
};

}  // namespace troupe
