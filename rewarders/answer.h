#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "rewarders/maths/exact.h"

namespace troupe {

/// The exact value of a number as people write it: sign, thousands separators (1,234), decimals, scientific notation,
/// fractions (3/4, \frac{3}{4}), percent (12% = 0.12), a currency sign in front, a full stop behind. Nothing for anything else.
/// At most 200 characters and exponents up to 10^4 in size, so that hostile input costs nothing.
std::optional<Rational> parse_number(std::string_view text);

/// The value of an arithmetic expression of integers and decimals with + - * / × ÷ and parentheses; `numbers` (may be
/// null) receives the literals in order. Nothing where it is not one, divides by zero, or is over 400 characters or 64 deep.
std::optional<Rational> evaluate_arithmetic(std::string_view expression, std::vector<Rational>* numbers);

}  // namespace troupe
