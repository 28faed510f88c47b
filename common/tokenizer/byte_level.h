#pragma once

#include <string>
#include <string_view>

namespace troupe {

/// Each byte of `text` as the printable character that GPT-2 gives it (encoder.py, bytes_to_unicode).
std::string to_byte_level(std::string_view text);

/// Appends to `bytes` what a byte-level token stands for; a token with any character outside that alphabet (an added
/// token) stands for its own UTF-8.
void append_byte_level(std::string& bytes, std::string_view token);

}  // namespace troupe
