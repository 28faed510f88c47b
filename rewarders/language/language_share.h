#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace troupe {

/// The code of a language by code or English name ("en", "zh-CN", "Chinese": "zh"); nothing where CLD2 does not know it.
std::optional<std::string> language_code(std::string_view name);

/// The language that most of a text's prose is in; nothing where it is too short to tell.
std::optional<std::string> language_of(std::string_view text);

/// The share of a text's words that are in `language` (a code): DeepSeek-R1's language consistency, 2.3.2. A word in a script that the
/// language is not written in is not; for the others CLD2 says which language the passage around them is in, and what it cannot
/// tell does not count, unless that is all there is. Code and formulas (prose_of) do not count. Nothing without any word.
std::optional<double> language_share(std::string_view text, const std::string& language);

}  // namespace troupe
