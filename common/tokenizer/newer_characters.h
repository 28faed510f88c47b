#pragma once

#include <string>
#include <string_view>

namespace troupe {

/// A character of Unicode 14 with the general category (and as many UTF-8 bytes) of `character`, where that came with Unicode 15,
/// 15.1 or 16, which Hugging Face's regular expressions know and PCRE2 and utf8proc may not; else `character` itself. U+180E,
/// which PCRE2 calls a space and Unicode does not, becomes U+200B.
char32_t older_character(char32_t character);

/// True where `text` (well-formed UTF-8) has a character that `older_character` changes.
bool has_newer_characters(std::string_view text);

/// `text` with `older_character` in place of each, so every offset stays.
std::string with_older_characters(std::string_view text);

}  // namespace troupe
