#pragma once

#include <optional>
#include <string_view>

namespace troupe {

/// Whether a gold answer is one capital letter from A to J, in whatever wrappers: "C", "(C)", "\text{C}".
bool is_choice_gold(std::string_view gold);

/// The choice that a text states: the letter within 40 bytes behind its last "answer", "option" or "choice", in several languages ("the
/// answer is for sure D", "答案是B"). Nothing where none is said so.
std::optional<char> stated_choice(std::string_view text);

/// The choice of a text that only names it: the letter that it begins with ("D. It can't be A"), else its last letter that stands alone.
/// The article "A" is none.
std::optional<char> named_choice(std::string_view text);

}  // namespace troupe
