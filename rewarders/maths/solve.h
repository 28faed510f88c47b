#pragma once

#include <optional>

#include "rewarders/maths/evaluate.h"

namespace troupe {

/// Where left - right, as a function of the only unknown in it, is zero, and whether it grows there.
struct LinearRoot {
  MathNode root;
  bool growing = false;
};

/// The root where left - right is a x + b with constants a and b, a not zero; an unknown function f(x) counts as the unknown.
/// Nothing otherwise.
std::optional<LinearRoot> solved_for_unknown(const MathNode& left, const MathNode& right, MathMeter& meter);

}  // namespace troupe
