#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace troupe {

/// Bytes of the longest prefix of `text` that is well-formed UTF-8 (no surrogates, no overlong forms, at most
/// U+10FFFF); text.size() where all of it is.
std::size_t valid_utf8_prefix(std::string_view text);

/// The code point that starts at `position` of well-formed UTF-8, and its length in bytes.
struct CodePoint {
  char32_t value;
  std::size_t bytes;
};
CodePoint code_point_at(std::string_view text, std::size_t position);

/// Where the last character of well-formed `text` (not empty) begins.
std::size_t last_character(std::string_view text);

/// Appends the UTF-8 of `code_point` to `text`.
void append_utf8(std::string& text, char32_t code_point);

/// `bytes` with each maximal ill-formed piece replaced by U+FFFD, as the Unicode standard recommends (chapter 3,
/// "U+FFFD substitution of maximal subparts") and as Rust and Python do.
std::string utf8_or_replacement(std::string_view bytes);

}  // namespace troupe
