#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "rewarders/maths/node.h"

namespace troupe {

/// Values for symbols.
struct MathPoint {
  std::vector<std::pair<std::string, Rational>> values;

  const Rational* find(const std::string& name) const;
};

/// The rational value of a tree where it has one that is found without approximating: no irrational constant or function, unless
/// a root that comes out even. Nothing else, and nothing where a bound of the meter is met or it is told of an undefined value.
std::optional<Rational> exact_value(const MathNode& node, const MathPoint& point, MathMeter& meter);

/// A value with a bound on its error, to first order; im is exactly 0 for a real value.
template <typename Real>
struct Approximation {
  Real re;
  Real im;
  Real error;
};

/// The value of a tree at a point, for Real = double or MathReal. Functions that we do not know (f(x), a limit) get an arbitrary,
/// smooth value of their arguments, the same for the same name. Where `allow_complex` is false a value that passes
/// through a non-real one counts as nothing, as does one that is undefined, infinite or too dear for the meter.
template <typename Real>
std::optional<Approximation<Real>> approximate(const MathNode& node, const MathPoint& point, bool allow_complex, MathMeter& meter);

}  // namespace troupe
