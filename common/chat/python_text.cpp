#include "common/chat/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <functional>
#include <utility>

#include "common/base/utf8.h"

namespace troupe::python_text {
namespace {

bool is_cased(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

/// Whether repr() writes the character as it stands.
bool is_printable(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC: case UTF8PROC_CATEGORY_CF: case UTF8PROC_CATEGORY_CS: case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN: case UTF8PROC_CATEGORY_ZL: case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return c == U' ';
    default: return true;
  }
}

enum class Case { kUpper, kLower, kTitle };

void append_in_case(std::string& text, char32_t c, Case wanted) {
  constexpr char32_t kSharpS = 0xDF;
  const auto code = static_cast<utf8proc_int32_t>(c);
  if (wanted == Case::kLower) append_utf8(text, static_cast<char32_t>(utf8proc_tolower(code)));
  else if (c == kSharpS) text += wanted == Case::kUpper ? "SS" : "Ss";
  else append_utf8(text, static_cast<char32_t>(wanted == Case::kUpper ? utf8proc_toupper(code) : utf8proc_totitle(code)));
}

/// The text with each character in the case that `wanted` says, which sees the characters in order.
std::string with_case(std::string_view text, const std::function<Case(char32_t)>& wanted) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    append_in_case(result, c.value, wanted(c.value));
    i += c.bytes;
  }
  return result;
}

bool is_line_end(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

std::vector<std::string_view> split_at_space(std::string_view text, std::int64_t most, bool from_right) {
  std::vector<std::string_view> parts;
  std::string_view rest = strip(text, std::nullopt, !from_right, from_right);
  while (!rest.empty()) {
    if (most >= 0 && static_cast<std::int64_t>(parts.size()) == most) {
      parts.push_back(rest);
      break;
    }
    std::size_t end = from_right ? rest.size() : 0;
    while (from_right ? end > 0 : end < rest.size()) {
      const std::size_t at = from_right ? last_character(rest.substr(0, end)) : end;
      const CodePoint c = code_point_at(rest, at);
      if (is_space(c.value)) break;
      end = from_right ? at : end + c.bytes;
    }
    parts.push_back(from_right ? rest.substr(end) : rest.substr(0, end));
    rest = strip(from_right ? rest.substr(0, end) : rest.substr(end), std::nullopt, !from_right, from_right);
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::size_t length(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::size_t byte_of(std::string_view text, std::size_t index) {
  std::size_t at = 0;
  while (at < text.size() && index > 0) {
    at += code_point_at(text, at).bytes;
    --index;
  }
  return at;
}

std::string_view strip(std::string_view text, std::optional<std::string_view> characters, bool left, bool right) {
  const auto goes = [&](std::size_t at) {
    const CodePoint c = code_point_at(text, at);
    return characters ? characters->find(text.substr(at, c.bytes)) != std::string_view::npos : is_space(c.value);
  };
  while (left && !text.empty() && goes(0)) text.remove_prefix(code_point_at(text, 0).bytes);
  while (right && !text.empty() && goes(last_character(text))) text = text.substr(0, last_character(text));
  return text;
}

std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator, std::int64_t most,
                                    bool from_right) {
  if (!separator) return split_at_space(text, most, from_right);
  std::vector<std::string_view> parts;
  while (most < 0 || static_cast<std::int64_t>(parts.size()) < most) {
    const std::size_t at = from_right ? text.rfind(*separator) : text.find(*separator);
    if (at == std::string_view::npos) break;
    const std::string_view behind = text.substr(at + separator->size());
    parts.push_back(from_right ? behind : text.substr(0, at));
    text = from_right ? text.substr(0, at) : behind;
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    const std::size_t end = i;
    i += c.bytes;
    if (!is_line_end(c.value)) continue;
    if (c.value == U'\r' && i < text.size() && text[i] == '\n') ++i;
    lines.push_back(text.substr(begin, (keep_ends ? i : end) - begin));
    begin = i;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string replace(std::string_view text, std::string_view old, std::string_view by, std::int64_t most, Meter& meter) {
  MeteredText result(meter);
  std::size_t begin = 0;
  for (std::int64_t i = 0; most < 0 || i < most; ++i) {
    // An empty `old` is found once at each character: the next search starts behind the character.
    const bool skips = old.empty() && i > 0;
    if (skips && begin >= text.size()) break;
    const std::size_t from = skips ? begin + code_point_at(text, begin).bytes : begin;
    const std::size_t at = text.find(old, from);
    if (at == std::string_view::npos) break;
    result << text.substr(begin, at - begin) << by;
    begin = at + old.size();
  }
  result << text.substr(begin);
  return result.take();
}

std::string upper(std::string_view text) {
  return with_case(text, [](char32_t) { return Case::kUpper; });
}

std::string lower(std::string_view text) {
  return with_case(text, [](char32_t) { return Case::kLower; });
}

std::string capitalize(std::string_view text) {
  Case next = Case::kTitle;
  return with_case(text, [&](char32_t) { return std::exchange(next, Case::kLower); });
}

std::string title(std::string_view text) {
  Case next = Case::kTitle;
  return with_case(text, [&](char32_t c) { return std::exchange(next, is_cased(c) ? Case::kLower : Case::kTitle); });
}

std::string title_of_words(std::string_view text) {
  constexpr std::string_view kBeforeWords = "-({[<";
  Case next = Case::kUpper;
  return with_case(text, [&](char32_t c) {
    const bool ends = is_space(c) || (c < 0x80 && kBeforeWords.find(static_cast<char>(c)) != std::string_view::npos);
    return std::exchange(next, ends ? Case::kUpper : Case::kLower);
  });
}

std::string repr(std::string_view text) {
  const bool doubled = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = doubled ? '"' : '\'';
  std::string result(1, quote);
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    const std::string_view bytes = text.substr(i, c.bytes);
    i += c.bytes;
    if (bytes[0] == quote || bytes == "\\") result.append("\\").append(bytes);
    else if (bytes == "\n") result += "\\n";
    else if (bytes == "\r") result += "\\r";
    else if (bytes == "\t") result += "\\t";
    else if (is_printable(c.value)) result += bytes;
    else {
      std::array<char, 16> escape{};
      const char* const format = c.value < 0x100 ? "\\x%02x" : c.value < 0x10000 ? "\\u%04x" : "\\U%08x";
      std::snprintf(escape.data(), escape.size(), format, static_cast<unsigned>(c.value));
      result += escape.data();
    }
  }
  return result + quote;
}

std::string repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer{};
  const auto write = [&](std::chars_format format) {
    return std::string(buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format).ptr);
  };
  const std::string scientific = write(std::chars_format::scientific);  // d.ddde+XX, as Python writes exponents
  const int exponent = std::stoi(scientific.substr(scientific.find('e') + 1));
  if (exponent < -4 || exponent >= 16) return scientific;
  const std::string fixed = write(std::chars_format::fixed);
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

}  // namespace troupe::python_text
