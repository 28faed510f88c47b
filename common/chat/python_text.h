#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/chat/meter.h"

// Python's methods of str over well-formed UTF-8. Lengths and positions count code points. What returns views returns
// views into its argument.

namespace troupe::python_text {

bool is_space(char32_t c);
std::size_t length(std::string_view text);
/// Where in bytes code point number `index` ≤ length begins.
std::size_t byte_of(std::string_view text, std::size_t index);

/// Without white space, or without the code points in `characters`, at the chosen ends.
std::string_view strip(std::string_view text, std::optional<std::string_view> characters, bool left = true, bool right = true);

/// str.split at `separator` (not empty), or at runs of white space where there is none; at most `most` cuts, all where
/// negative. `from_right` cuts from the end on.
std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator, std::int64_t most,
                                    bool from_right = false);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

/// str.replace: the first `most` places, all where negative. An empty `old` stands before every character and at the end.
std::string replace(std::string_view text, std::string_view old, std::string_view by, std::int64_t most, Meter& meter);

/// Case by the simple mappings of Unicode; ß becomes SS.
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
/// str.title(): upper case where a letter follows none.
std::string title(std::string_view text);
/// Jinja's filter of that name: words begin after white space, hyphens and opening brackets.
std::string title_of_words(std::string_view text);

/// repr() of a text and of a number.
std::string repr(std::string_view text);
std::string repr(double value);

}  // namespace troupe::python_text
