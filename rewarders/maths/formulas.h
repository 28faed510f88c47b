#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace troupe {

struct FoundAnswer {
  std::string text;
  std::size_t end = 0;  // where it ends in the text that it was found in
};

/// The last formula of a text that can be read, between $, $$, \( \) or \[ \], or a bare \frac; with the ones before it that are
/// joined to it by commas, "and" or "or", and with "percent" behind it. Nothing where there is none.
std::optional<FoundAnswer> last_formula(std::string_view text);

/// The formulas that a text begins with, in the same way.
std::optional<std::string> leading_formula(std::string_view text);

/// The last number of running text, or the arithmetic expression that it ends, with a sign directly in front and "percent"
/// behind. Digits that are part of a word are none.
std::optional<FoundAnswer> last_number(std::string_view text);

/// The last formula or number, whichever ends later.
std::optional<std::string> last_formula_or_number(std::string_view text);

/// The number or expression that a text begins with.
std::optional<std::string> leading_number(std::string_view text);

}  // namespace troupe
