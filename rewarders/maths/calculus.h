#pragma once

#include <functional>
#include <optional>

#include "rewarders/maths/evaluate.h"
#include "rewarders/maths/real.h"

namespace troupe {

using ExactFunction = std::function<std::optional<Rational>(const Rational&)>;
using RealFunction = std::function<std::optional<Approximation<MathReal>>(const Rational&)>;

/// f(low) + … + f(high) for whole bounds: term by term up to 200, beyond that where f is a polynomial of degree 10 at most.
std::optional<Rational> exact_series(const ExactFunction& f, const Rational& low, const Rational& high, MathMeter& meter);

/// The integral from low to high where f is a polynomial of degree 10 at most, as its differences show; else nothing.
std::optional<Rational> exact_integral(const ExactFunction& f, const Rational& low, const Rational& high, MathMeter& meter);

/// The limit of f at `at` from above, or at an infinity, with a bound on its error: Richardson's extrapolation, for what has a Taylor
/// series there. A large bound where it does not converge.
std::optional<Approximation<MathReal>> limit_of(const RealFunction& f, const MathReal& at);

/// f(low) + f(low + 1) + …, by Levin's u-transform (Numerical Recipes 5.3); nothing where the terms do not fall like those of a
/// convergent series.
std::optional<Approximation<MathReal>> infinite_series(const RealFunction& f, const Rational& low);

/// The integral from low to high, either of which may be infinite, by the double exponential rule (Takahasi and Mori 1974) at 137
/// points; the error is large where those are too few.
std::optional<Approximation<MathReal>> integral_of(const RealFunction& f, const MathReal& low, const MathReal& high);

}  // namespace troupe
