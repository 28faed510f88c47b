#include "common/chat/string_literal.h"

#include <charconv>

#include "common/base/error.h"
#include "common/base/utf8.h"

namespace troupe {
namespace {

constexpr std::string_view kLetters = "abfnrtv\\'\"";
constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";

bool is_octal(char c) { return c >= '0' && c <= '7'; }

/// The code point that `digits` write in `base`.
void append_code(std::string& value, std::string_view digits, int base, std::size_t expected) {
  std::uint32_t code = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), code, base);
  const bool whole = result.ec == std::errc() && result.ptr == digits.data() + digits.size() && digits.size() >= expected;
  const bool is_character = code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF);
  if (!whole || !is_character) throw ConfigError("escape \"" + std::string(digits) + "\" in a string: expected a character's number");
  append_utf8(value, code);
}

/// Appends what the escape behind a backslash means; how many bytes it has.
std::size_t append_escape(std::string& value, std::string_view rest) {
  const char c = rest[0];
  if (c == '\n') return 1;
  if (const std::size_t at = kLetters.find(c); at != std::string_view::npos) {
    value += kMeanings[at];
    return 1;
  }
  const std::size_t hex_digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (hex_digits > 0) {
    append_code(value, rest.substr(1, hex_digits), 16, hex_digits);
    return 1 + rest.substr(1, hex_digits).size();
  }
  if (is_octal(c)) {
    std::size_t digits = 1;
    while (digits < 3 && digits < rest.size() && is_octal(rest[digits])) ++digits;
    append_code(value, rest.substr(0, digits), 8, 1);
    return digits;
  }
  if (c == 'N') throw ConfigError("escape \\N in a string is not supported");
  value.append("\\").append(1, c);
  return 1;
}

}  // namespace

std::string string_literal_value(std::string_view inside) {
  std::string value;
  for (std::size_t i = 0; i < inside.size();) {
    if (inside[i] != '\\' || i + 1 == inside.size()) {
      value += inside[i++];
      continue;
    }
    i += 1 + append_escape(value, inside.substr(i + 1));
  }
  return value;
}

}  // namespace troupe
