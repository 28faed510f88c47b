#include "common/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string_view>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/base/utf8.h"

namespace troupe {
namespace {

constexpr std::pair<char32_t, char32_t> kSurelyNfc[] = {
    {0x0000, 0x02FF},   {0x0400, 0x0482},   {0x2010, 0x2027},  // Latin, Cyrillic, punctuation
    {0x3001, 0x3029},   {0x3041, 0x3096},   {0x309B, 0x30FF},  // CJK punctuation, Hiragana, Katakana
    {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xAC00, 0xD7A3},  // Han, Hangul syllables (their jamo are not here)
    {0xFF01, 0xFF60},   {0x1F300, 0x1F5FF}, {0x1F600, 0x1F64F},  // full-width forms, pictures, faces
};

/// Blocks whose every character is its own NFC and joins with nothing before it: what most text is made of. Each is checked
/// against utf8proc by a test.
bool is_surely_nfc(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    if (static_cast<std::uint8_t>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const CodePoint c = code_point_at(text, i);
    const bool sure = std::any_of(std::begin(kSurelyNfc), std::end(kSurelyNfc),
                                  [&](const auto& block) { return c.value >= block.first && c.value <= block.second; });
    if (!sure) return false;
    i += c.bytes;
  }
  return true;
}

std::string to_nfc(const std::string& text) {
  if (is_surely_nfc(text)) return text;
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &composed, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(composed, std::free);
  check(size >= 0, "utf8proc refused text that was checked to be UTF-8");
  return {reinterpret_cast<const char*>(composed), static_cast<std::size_t>(size)};
}

}  // namespace

std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string result;
  result.reserve(text.size());
  for (;;) {
    const std::size_t found = text.find(pattern);
    result.append(text.substr(0, found));
    if (found == std::string_view::npos) return result;
    result.append(content);
    text.remove_prefix(found + pattern.size());
  }
}

std::pair<std::string, std::string> replace_arguments(const nlohmann::json& json, const std::string& where) {
  const nlohmann::json& pattern = json_member(json, "pattern", where);
  if (!pattern.contains("String")) {
    throw ConfigError(where + ": Replace: only a pattern of the form {\"String\": …} is supported, found " +
                      pattern.dump());
  }
  std::string text = json_get<std::string>(pattern, "String", where);
  if (text.empty()) throw ConfigError(where + ": Replace: the pattern is empty");
  return {std::move(text), json_get<std::string>(json, "content", where)};
}

Normalizer Normalizer::from_json(const nlohmann::json& json, const std::string& where) {
  Normalizer normalizer;
  if (!json.is_null()) normalizer.add(json, where);
  return normalizer;
}

void Normalizer::add(const nlohmann::json& json, const std::string& where) {
  const auto type = json_get<std::string>(json, "type", where);
  if (type == "Sequence") {
    for (const auto& step : json_member(json, "normalizers", where)) add(step, where);
  } else if (type == "Prepend") {
    steps_.emplace_back(Prepend{json_get<std::string>(json, "prepend", where)});
  } else if (type == "Replace") {
    auto [pattern, content] = replace_arguments(json, where);
    steps_.emplace_back(Replace{std::move(pattern), std::move(content)});
  } else if (type == "NFC") {
    steps_.emplace_back(Nfc{});
  } else {
    throw ConfigError(where + ": normalizer \"" + type +
                      "\" is not supported (Sequence, Prepend, Replace and NFC are)");
  }
}

std::string Normalizer::operator()(std::string text) const {
  for (const auto& step : steps_) {
    if (const auto* prepend = std::get_if<Prepend>(&step)) {
      if (!text.empty()) text.insert(0, prepend->prefix);
    } else if (const auto* replace = std::get_if<Replace>(&step)) {
      text = replace_all(text, replace->pattern, replace->content);
    } else {
      text = to_nfc(text);
    }
  }
  return text;
}

}  // namespace troupe
