#include "common/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <string_view>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/base/utf8.h"
#include "common/tokenizer/newer_characters.h"

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

// Characters with a decomposition, a combining class or a composition that came after Unicode 9.0, whose tables Hugging Face's
// normalizers have: to them these are letters that stand for themselves. So is U+11A7, which utf8proc loses behind Hangul.
constexpr std::pair<char32_t, char32_t> kUnknown[] = {
    {0x7FD, 0x7FD}, {0x898, 0x89F}, {0x8CA, 0x8D3}, {0x9FE, 0x9FE}, {0xC3C, 0xC3C}, {0xD3B, 0xD3C}, {0xEBA, 0xEBA},
    {0x11A7, 0x11A7}, {0x1715, 0x1715}, {0x1ABF, 0x1ACE}, {0x1DF6, 0x1DFA}, {0x32FF, 0x32FF}, {0xA7F2, 0xA7F4}, {0xA82C, 0xA82C}, {0xAB69, 0xAB69},
    {0x10781, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930},
    {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
    {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x16FF0, 0x16FF1}, {0x1E130, 0x1E136},
    {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9},
};

bool is_unknown(char32_t c) {
  const auto* behind = std::upper_bound(std::begin(kUnknown), std::end(kUnknown), c,
                                        [](char32_t value, const auto& range) { return value < range.first; });
  return (behind != std::begin(kUnknown) && c <= behind[-1].second) || older_character(c) != c;
}

/// Appends the normal form of `text`, which has no unknown character.
void append_mapped(std::string& result, std::string_view text, utf8proc_option_t options) {
  if (text.empty()) return;
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &mapped, options);
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(mapped, std::free);
  check(size >= 0, "utf8proc refused text that was checked to be UTF-8");
  result.append(reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(size));
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
  static const std::map<std::string, Form> kForms = {
      {"NFC", Form::kNfc}, {"NFD", Form::kNfd}, {"NFKC", Form::kNfkc}, {"NFKD", Form::kNfkd}};
  const auto type = json_get<std::string>(json, "type", where);
  if (type == "Sequence") {
    for (const auto& step : json_member(json, "normalizers", where)) add(step, where);
  } else if (type == "Prepend") {
    steps_.emplace_back(Prepend{json_get<std::string>(json, "prepend", where)});
  } else if (type == "Replace" && json_member(json, "pattern", where).contains("Regex")) {
    const auto pattern = json_get<std::string>(json["pattern"], "Regex", where);
    auto content = json_get<std::string>(json, "content", where);
    growth_.add(content.size(), 1, where + ": normalizer");
    steps_.emplace_back(ReplaceMatches{Regex(pattern, where), std::move(content)});
  } else if (type == "Replace") {
    auto [pattern, content] = replace_arguments(json, where);
    growth_.add(content.size(), pattern.size(), where + ": normalizer");
    steps_.emplace_back(Replace{std::move(pattern), std::move(content)});
  } else if (const auto form = kForms.find(type); form != kForms.end()) {
    const bool compatible = form->second == Form::kNfkc || form->second == Form::kNfkd;
    growth_.add(compatible ? 11 : 3, 1, where + ": normalizer");  // https://unicode.org/faq/normalization.html, 12
    steps_.emplace_back(form->second);
  } else {
    throw ConfigError(where + ": normalizer \"" + type +
                      "\" is not supported (Sequence, Prepend, Replace, NFC, NFD, NFKC and NFKD are)");
  }
}

std::string Normalizer::in_form(std::string text, Form form) {
  if (form == Form::kNfc && is_surely_nfc(text)) return text;
  int options = UTF8PROC_STABLE;
  options |= form == Form::kNfc || form == Form::kNfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == Form::kNfkc || form == Form::kNfkd) options |= UTF8PROC_COMPAT;
  std::string result;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (c.value >= kUnknown[0].first && is_unknown(c.value)) {
      append_mapped(result, std::string_view(text).substr(begin, i - begin), static_cast<utf8proc_option_t>(options));
      result.append(text, i, c.bytes);
      begin = i + c.bytes;
    }
    i += c.bytes;
  }
  append_mapped(result, std::string_view(text).substr(begin), static_cast<utf8proc_option_t>(options));
  return result;
}

std::string Normalizer::operator()(std::string text) const {
  for (const auto& step : steps_) {
    if (const auto* prepend = std::get_if<Prepend>(&step)) {
      if (!text.empty()) text.insert(0, prepend->prefix);
    } else if (const auto* replace = std::get_if<Replace>(&step)) {
      text = replace_all(text, replace->pattern, replace->content);
    } else if (const auto* matches = std::get_if<ReplaceMatches>(&step)) {
      std::string replaced;
      matches->pattern.split(text, [&](std::size_t begin, std::size_t end, bool match) {
        replaced += match ? matches->content : text.substr(begin, end - begin);
      });
      text = std::move(replaced);
    } else {
      text = in_form(std::move(text), std::get<Form>(step));
    }
  }
  return text;
}

}  // namespace troupe
