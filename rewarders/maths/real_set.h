#pragma once

#include <optional>
#include <vector>

#include "rewarders/maths/evaluate.h"

namespace troupe {

/// An interval between two constants, which may be infinite; a point where both are the same.
struct RealPiece {
  MathNode low;
  MathNode high;
  bool low_open = false;
  bool high_open = false;
  double low_at = 0;
  double high_at = 0;
};

/// Pieces in order that neither overlap nor touch.
using RealSet = std::vector<RealPiece>;

/// The set of real numbers that an interval, a pair (an open interval), elements, a union, intersection or difference of these
/// stands for, or that solves relations of one unknown x that compare constants with a x + b or |a x + b|. Nothing for
/// anything else.
std::optional<RealSet> real_set_of(const MathNode& node, MathMeter& meter);

bool same_real_set(const RealSet& gold, const RealSet& given, MathMeter& meter);

}  // namespace troupe
