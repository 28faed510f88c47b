#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/multiprecision/cpp_int.hpp>

namespace troupe {

using Rational = boost::multiprecision::cpp_rational;

/// The text between the last complete `<tag>` … `</tag>`, trimmed. Nothing where there is none.
std::optional<std::string> last_tagged(std::string_view text, std::string_view tag);

/// The argument of the last `\boxed{…}` with balanced braces, trimmed.
std::optional<std::string> last_boxed(std::string_view text);

/// The final answer of a completion: the first of `<answer>`, `\boxed{}`, "#### x" and the last number that is there.
/// `sources` chooses among {"tag", "boxed", "hash", "number"}, in order.
std::optional<std::string> final_answer(std::string_view completion, const std::vector<std::string>& sources);

/// The exact value of a number as people write it: sign, thousands separators (1,234), decimals, scientific notation,
/// fractions (3/4, \frac{3}{4}), percent (12% = 0.12), a currency sign in front, a full stop behind. Nothing for anything else.
/// At most 200 characters and exponents up to 10^4 in size, so that hostile input costs nothing.
std::optional<Rational> parse_number(std::string_view text);

/// Whether two answers are the same: equal numbers, else equal text but for case, spaces and outer $ and \text{}.
bool same_answer(std::string_view given, std::string_view gold);

/// The value of an arithmetic expression of integers and decimals with + - * / × ÷ and parentheses; `numbers` (may be
/// null) receives the literals in order. Nothing where it is not one, divides by zero, or is over 400 characters or 64 deep.
std::optional<Rational> evaluate_arithmetic(std::string_view expression, std::vector<Rational>* numbers);

}  // namespace troupe
