#include "rewarders/maths/calculus.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <boost/math/constants/constants.hpp>

namespace troupe {
namespace {

using Value = Approximation<MathReal>;

MathReal epsilon() { return std::numeric_limits<MathReal>::epsilon(); }

Value real_value(const MathReal& re, const MathReal& error) { return Value{re, MathReal(0), error + 8 * epsilon() * abs(re)}; }

/// n over k for a whole n of any size.
Rational choose(const Rational& n, int k) {
  Rational value = 1;
  for (int i = 0; i < k; ++i) value *= (n - i) / (i + 1);
  return value;
}

constexpr std::size_t kSamples = 14;
constexpr std::size_t kVanishing = 3;  // so many differences in a row are zero where f is a polynomial
constexpr long kFarOff = 37;           // where it must take the value that they foretell, so that a product of zeros is not zero

/// The differences by order of f at low, low + step, …, where they show a polynomial.
std::optional<std::vector<Rational>> differences_of(const ExactFunction& f, const Rational& low, const Rational& step,
                                                    MathMeter& meter) {
  std::vector<Rational> first;
  std::vector<Rational> last;  // the differences that end at the newest sample
  for (std::size_t i = 0; i < kSamples; ++i) {
    auto next = f(low + step * static_cast<long>(i));
    if (!next) return std::nullopt;
    for (Rational& before : last) {
      if (!meter.affords(*next, before)) return std::nullopt;
      Rational difference = exact_sum(*next, exact_negative(before));
      before = std::exchange(*next, std::move(difference));
    }
    last.push_back(*next);
    first.push_back(*next);
    if (i <= kVanishing || std::any_of(first.end() - kVanishing, first.end(), [](const Rational& d) { return d != 0; })) continue;
    const auto far = f(low + step * kFarOff);
    Rational foretold = 0;
    for (std::size_t order = 0; order < first.size(); ++order) {
      foretold = exact_sum(foretold, exact_product(choose(kFarOff, static_cast<int>(order)), first[order]));
    }
    if (far && *far == foretold) return first;
  }
  return std::nullopt;
}

/// What the double exponential rules need of a t: e^t, e^{(π/2) sinh t} and (π/2) cosh t.
struct Knot {
  MathReal up;
  MathReal grown;
  MathReal slope;
  MathReal decayed;  // e^{-e^{-t}}
};

constexpr int kKnots = 68;     // on each side of 0 …
constexpr int kKnotsToOne = 16;  // … this many to t = 1

Knot knot_at(int index) {
  const MathReal half_pi = boost::math::constants::half_pi<MathReal>();
  const MathReal up = exp(MathReal(index) / kKnotsToOne);
  return {up, exp(half_pi * (up - 1 / up) / 2), half_pi * (up + 1 / up) / 2, exp(-1 / up)};
}

const Knot& knot(int index) {
  static const std::vector<Knot> kAll = [] {
    std::vector<Knot> all;
    for (int i = -kKnots; i <= kKnots; ++i) all.push_back(knot_at(i));
    return all;
  }();
  return kAll[static_cast<std::size_t>(index + kKnots)];
}

/// Where a knot lies between low and high, and its weight; `fast` for a function that falls exponentially at infinity.
std::pair<MathReal, MathReal> placed(int index, const MathReal& low, const MathReal& high, bool fast) {
  const Knot& at = knot(index);
  const MathReal both = at.grown + 1 / at.grown;
  if (isinf(low) && isinf(high)) {
    if (fast) return {(at.up - 1 / at.up) / 2, (at.up + 1 / at.up) / 2};
    return {(at.grown - 1 / at.grown) / 2, at.slope * both / 2};
  }
  if (isinf(low) || isinf(high)) {
    const MathReal away = fast ? MathReal(at.up * at.decayed) : at.grown;
    const MathReal weight = fast ? MathReal(away * (1 + 1 / at.up)) : MathReal(at.slope * away);
    return {isinf(high) ? MathReal(low + away) : MathReal(high - away), weight};
  }
  const MathReal larger = index > 0 ? at.grown : MathReal(1 / at.grown);
  const MathReal from_end = (high - low) / (1 + larger * larger);
  return {index > 0 ? MathReal(high - from_end) : MathReal(low + from_end), 2 * (high - low) * at.slope / (both * both)};
}

/// Whether f falls like e^{-x}, not like a power of x.
bool falls_fast(const RealFunction& f, int sign) {
  const auto near = f(Rational(32 * sign));
  const auto far = f(Rational(64 * sign));
  return near && far && abs(far->re) < MathReal(1e-4) * abs(near->re);
}

}  // namespace

std::optional<Rational> exact_series(const ExactFunction& f, const Rational& low, const Rational& high, MathMeter& meter) {
  constexpr int kTermByTerm = 200;
  const Rational count = high - low + 1;
  Rational total = 0;
  if (count <= kTermByTerm) {
    for (Rational k = low; k <= high; k += 1) {
      const auto term = f(k);
      if (!term || !meter.spend(2) || !meter.affords(total, *term)) return std::nullopt;
      total = exact_sum(total, *term);
    }
    return total;
  }
  const auto differences = differences_of(f, low, 1, meter);
  if (!differences) return std::nullopt;
  for (std::size_t order = 0; order < differences->size(); ++order) {
    total = exact_sum(total, exact_product(choose(count, static_cast<int>(order) + 1), (*differences)[order]));
  }
  return total;
}

std::optional<Rational> exact_integral(const ExactFunction& f, const Rational& low, const Rational& high, MathMeter& meter) {
  const Rational step = (high - low) / static_cast<long>(kSamples);
  const auto differences = differences_of(f, low, step, meter);
  if (!differences) return std::nullopt;
  Rational total = 0;
  std::vector<Rational> newton = {1};  // the coefficients of s (s - 1) … / order!
  for (std::size_t order = 0; order < differences->size(); ++order) {
    Rational area = 0;
    Rational power = 1;
    for (std::size_t i = 0; i < newton.size(); ++i) {
      power *= static_cast<long>(kSamples);
      area += newton[i] * power / (i + 1);
    }
    if (!meter.affords_divisor((*differences)[order], area) || !meter.affords_divisor(total, area)) return std::nullopt;
    total += (*differences)[order] * area;
    newton.insert(newton.begin(), Rational(0));
    for (std::size_t i = 0; i + 1 < newton.size(); ++i) newton[i] -= newton[i + 1] * static_cast<long>(order);
    for (Rational& coefficient : newton) coefficient /= static_cast<long>(order + 1);
  }
  return meter.affords_divisor(total, step) ? std::optional<Rational>(total * step) : std::nullopt;
}

std::optional<Approximation<MathReal>> limit_of(const RealFunction& f, const MathReal& at) {
  constexpr int kPoints = 16;
  std::vector<MathReal> column;
  MathReal noise = 0;
  MathReal change = 0;
  for (int i = 0; i < kPoints; ++i) {
    const MathReal step = ldexp(MathReal(1), -3 - i);
    const MathReal x = isinf(at) ? MathReal((at > 0 ? 1 : -1) / step) : at + step;
    const auto value = f(x.convert_to<Rational>());
    if (!value || value->im != 0) return std::nullopt;
    noise = std::max(noise, value->error);
    MathReal corner = value->re;
    for (std::size_t j = 0; j < column.size(); ++j) {  // column[j]: the corner of degree j a point before
      const MathReal better = corner + (corner - column[j]) / (ldexp(MathReal(1), static_cast<int>(j) + 1) - 1);
      column[j] = corner;
      change = better - corner;
      corner = better;
    }
    column.push_back(corner);
  }
  return real_value(column.back(), 16 * noise + abs(change));
}

std::optional<Approximation<MathReal>> infinite_series(const RealFunction& f, const Rational& low) {
  constexpr std::size_t kTerms = 34;
  std::vector<MathReal> terms;
  std::vector<MathReal> sums;
  MathReal noise = 0;
  for (std::size_t n = 0; n < kTerms; ++n) {
    const auto term = f(low + n);
    if (!term || term->im != 0) return std::nullopt;
    terms.push_back(term->re);
    sums.push_back(n == 0 ? term->re : sums.back() + term->re);
    noise += term->error;
  }
  if (abs(terms.back()) <= epsilon() * abs(sums.back())) return real_value(sums.back(), noise + abs(terms.back()) * kTerms);
  // A series whose terms keep a sign converges only where they fall faster than 1/n.
  const std::size_t half = kTerms / 2;
  const bool alternating = terms[kTerms - 1] * terms[kTerms - 2] < 0;
  const MathReal falling = abs(terms[kTerms - 1]) * (alternating ? 1 : kTerms);
  if (falling >= abs(terms[half]) * (alternating ? 1 : half + 1) * MathReal(0.99)) return std::nullopt;
  std::array<MathReal, 2> estimates;
  MathReal rounding = 0;
  for (const std::size_t less : {std::size_t{1}, std::size_t{0}}) {
    const std::size_t k = kTerms - 1 - less;
    MathReal top = 0;
    MathReal bottom = 0;
    MathReal size = 0;
    MathReal binomial = 1;
    for (std::size_t j = 0; j <= k; ++j) {
      if (terms[j] == 0) return std::nullopt;
      const MathReal ratio = MathReal(j + 1) / MathReal(k + 1);
      const MathReal weight = binomial * pow(ratio, static_cast<int>(k) - 1) / (MathReal(j + 1) * terms[j]);
      top += weight * sums[j];
      bottom += weight;
      size += abs(weight * sums[j]);
      binomial *= -MathReal(k - j) / MathReal(j + 1);
    }
    if (bottom == 0) return std::nullopt;
    estimates[less] = top / bottom;
    rounding = size / abs(bottom);
  }
  const MathReal relative = epsilon() + noise / (abs(sums.back()) + MathReal(1e-30));
  return real_value(estimates[0], abs(estimates[0] - estimates[1]) + rounding * relative);
}

std::optional<Approximation<MathReal>> integral_of(const RealFunction& f, const MathReal& low, const MathReal& high) {
  if (high < low) {
    auto turned = integral_of(f, high, low);
    if (turned) turned->re = -turned->re;
    return turned;
  }
  if (low == high) return real_value(0, 0);
  const bool fast = (isinf(low) || isinf(high)) && falls_fast(f, isinf(high) ? 1 : -1);
  MathReal total = 0;  // of every second knot
  MathReal between = 0;
  MathReal noise = 0;
  MathReal edge = 0;
  for (int i = -kKnots; i <= kKnots; ++i) {
    const auto [x, weight] = placed(i, low, high, fast);
    const auto value = f(x.convert_to<Rational>());
    if (!value || value->im != 0) return std::nullopt;
    const MathReal part = weight * value->re / kKnotsToOne;
    (i % 2 == 0 ? total : between) += part;
    noise += weight * value->error / kKnotsToOne;
    if (std::abs(i) == kKnots) edge += 8 * abs(part);  // about what lies beyond
  }
  // Halving the step doubles the digits that are right.
  const MathReal sum = total + between;
  const MathReal scale = abs(sum) + MathReal(1e-30);
  const MathReal coarse = abs(total - between) / scale;
  return real_value(sum, noise + edge + coarse * sqrt(coarse) * scale);
}

}  // namespace troupe
