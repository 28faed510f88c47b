#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace troupe {

/// An answer without what does not change it as text: spaces, letter case, $, \text{} and other wrappers and spacing commands,
/// quotation marks, the full stop at the end, parentheses around a single letter; \dfrac and \tfrac are \frac.
std::string plain_words(std::string_view text);

/// The letter of a multiple-choice answer that says more than the letter: "(C) 12", "B. because", "\textbf{(D)}\ 5"; upper case.
std::optional<char> choice_letter(std::string_view text);

/// A day as year-month-day or a time of day, in one spelling: "March 5, 2020", "5 March 2020" and "2020-03-05" are "2020-3-5",
/// "03:30 pm" is "15:30". Nothing for anything else. Slashes are not read: 3/4 is a fraction.
std::optional<std::string> date_or_time(std::string_view text);

}  // namespace troupe
