#pragma once

#include "rewarders/maths/evaluate.h"

namespace troupe {

/// Whether two scalar expressions are the same function of their symbols. Constants: exactly, where both are rational; to 50
/// digits less the rounding that was carried along, where they are not; and where a decimal number is written in one of them,
/// also if they round to the same six places (below 1: agree to a millionth part, or one is the other rounded to at
/// least six places with four digits that count). With symbols: at three points where both have a value, rational ones, drawn
/// from the expressions themselves; real ones first, complex ones where there is nothing real. False where nothing can be
/// decided within the meter.
bool same_scalar(const MathNode& gold, const MathNode& given, MathMeter& meter);

/// The factor c with gold = c * given at every point, or nothing; 1 or -1 or anything but 0. Both zero, or both constant, gives nothing.
enum class Proportion { kNone, kPositive, kNegative };
Proportion proportion_of(const MathNode& gold, const MathNode& given, MathMeter& meter);

/// The names of the free symbols, each once, in order.
std::vector<std::string> symbols_of(const MathNode& node);

}  // namespace troupe
