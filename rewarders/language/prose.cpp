#include "rewarders/language/prose.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "common/base/utf8.h"

namespace troupe {
namespace {

struct Range {
  char32_t first;
  char32_t last;
  Script script;
};

constexpr Range kRanges[] = {
    {0x41, 0x24f, Script::kLatin},          {0x370, 0x3ff, Script::kGreek},         {0x400, 0x52f, Script::kCyrillic},
    {0x590, 0x5ff, Script::kHebrew},        {0x600, 0x77f, Script::kArabic},        {0x900, 0x97f, Script::kDevanagari},
    {0x980, 0x9ff, Script::kBengali},       {0xb80, 0xbff, Script::kTamil},         {0xc00, 0xc7f, Script::kTelugu},
    {0xe00, 0xe7f, Script::kThai},          {0x1100, 0x11ff, Script::kHangul},      {0x1e00, 0x1eff, Script::kLatin},
    {0x1f00, 0x1fff, Script::kGreek},       {0x3005, 0x3007, Script::kHan},         {0x3040, 0x30ff, Script::kKana},
    {0x31f0, 0x31ff, Script::kKana},        {0x3400, 0x4dbf, Script::kHan},         {0x4e00, 0x9fff, Script::kHan},
    {0xac00, 0xd7af, Script::kHangul},      {0xf900, 0xfaff, Script::kHan},         {0xff66, 0xff9f, Script::kKana},
    {0x20000, 0x323af, Script::kHan},
};

Script script_of(char32_t letter) {
  for (const Range& range : kRanges) {
    if (letter >= range.first && letter <= range.last) return range.script;
  }
  return Script::kOther;
}

enum class Kind { kLetter, kMark, kNameLike, kOther };

Kind kind_of(char32_t c) {
  if (c == '_') return Kind::kNameLike;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return Kind::kLetter;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC: return Kind::kMark;
    case UTF8PROC_CATEGORY_ND: return Kind::kNameLike;
    default: return Kind::kOther;
  }
}

double weight_of(Script script, std::size_t letters) {
  if (script == Script::kHan || script == Script::kKana) return 0.5 * static_cast<double>(letters);
  return script == Script::kThai ? 0.25 * static_cast<double>(letters) : 1.0;
}

bool abbreviation(std::string_view word) {
  return word.size() <= 4 && std::all_of(word.begin(), word.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

/// Without spaces between words, a digit beside a letter is no sign of code.
bool spaced(Script script) { return script != Script::kHan && script != Script::kKana && script != Script::kThai; }

/// The end of what begins at `from` with `open` and ends with `close`, or npos.
std::size_t end_of(std::string_view text, std::size_t from, std::string_view open, std::string_view close) {
  if (!text.substr(from).starts_with(open)) return std::string_view::npos;
  const std::size_t end = text.find(close, from + open.size());
  return end == std::string_view::npos ? end : end + close.size();
}

/// Whether there are words of no command in it: of two letters or more, two of them, or one outside of ASCII.
bool has_prose(std::string_view text) {
  int words = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) >= 0x80) return true;
    std::size_t end = at;
    while (end < text.size() && std::isalpha(static_cast<unsigned char>(text[end])) != 0) ++end;
    if (end - at >= 2 && (at == 0 || text[at - 1] != '\\')) ++words;
    at = std::max(end, at + 1);
  }
  return words >= 2;
}

/// $…$ as pandoc reads it, so that "$2 for one and $5 for two" is none: no space inside the marks, no digit behind, on one line; nor does one
/// begin with a comma or full stop, as behind "8,50 $", nor have words behind a number at its front, as "$5 a day and x$".
std::size_t end_of_inline_formula(std::string_view text, std::size_t from) {
  if (text[from] != '$' || from + 1 >= text.size()) return std::string_view::npos;
  const char first = text[from + 1];
  if (std::isspace(static_cast<unsigned char>(first)) != 0 || std::string_view(",.;:?!)").find(first) != std::string_view::npos) return std::string_view::npos;
  for (std::size_t at = from + 1; at < text.size() && text[at] != '\n'; ++at) {
    const bool closes = text[at] == '$' && at > from + 1 && std::isspace(static_cast<unsigned char>(text[at - 1])) == 0;
    if (!closes || (at + 1 < text.size() && std::isdigit(static_cast<unsigned char>(text[at + 1])) != 0)) continue;
    const bool money = std::isdigit(static_cast<unsigned char>(first)) != 0 && has_prose(text.substr(from + 1, at - from - 1));
    return money ? std::string_view::npos : at + 1;
  }
  return std::string_view::npos;
}

/// \word, with \begin{x} up to its \end{x}.
std::size_t end_of_command(std::string_view text, std::size_t from) {
  std::size_t end = from + 1;
  if (text[from] != '\\' || end >= text.size() || std::isalpha(static_cast<unsigned char>(text[end])) == 0) return std::string_view::npos;
  while (end < text.size() && std::isalpha(static_cast<unsigned char>(text[end])) != 0) ++end;
  if (text.substr(from, end - from) != "\\begin") return end;
  const std::size_t brace = text.find('}', end);
  if (brace == std::string_view::npos) return end;
  const std::size_t closing = text.find("\\end" + std::string(text.substr(end, brace + 1 - end)), brace);
  return closing == std::string_view::npos ? end : closing + 4 + (brace + 1 - end);
}

/// <tag>, </tag>, and links up to the next space.
std::size_t end_of_tag_or_link(std::string_view text, std::size_t from) {
  if (text.substr(from).starts_with("http://") || text.substr(from).starts_with("https://")) {
    return std::min(text.find_first_of(" \n\t", from), text.size());
  }
  if (text[from] != '<') return std::string_view::npos;
  const std::size_t end = text.find_first_of("<>\n ", from + 1);
  return end != std::string_view::npos && text[end] == '>' ? end + 1 : std::string_view::npos;
}

std::size_t end_of_unspoken(std::string_view text, std::size_t from) {
  constexpr std::array<std::array<std::string_view, 2>, 5> kMarks = {{{"```", "```"}, {"`", "`"}, {"$$", "$$"}, {"\\(", "\\)"}, {"\\[", "\\]"}}};
  for (const auto& [open, close] : kMarks) {
    const std::size_t end = end_of(text, from, open, close);
    if (end != std::string_view::npos) return end;
  }
  for (const auto find : {end_of_inline_formula, end_of_command, end_of_tag_or_link}) {
    const std::size_t end = find(text, from);
    if (end != std::string_view::npos) return end;
  }
  return std::string_view::npos;
}

}  // namespace

std::string_view thought_of(std::string_view completion) {
  constexpr std::string_view kOpen = "<think>";
  constexpr std::string_view kClose = "</think>";
  const std::size_t open = completion.find(kOpen);
  const std::size_t begin = open == std::string_view::npos ? 0 : open + kOpen.size();
  const std::size_t close = completion.find(kClose, begin);
  return completion.substr(begin, close == std::string_view::npos ? close : close - begin);
}

std::string prose_of(std::string_view text) {
  const std::string whole = utf8_or_replacement(text);
  const std::string_view view = whole;
  std::string prose;
  for (std::size_t at = 0; at < view.size();) {
    const bool may_begin = std::string_view("`$\\<h").find(view[at]) != std::string_view::npos;
    const std::size_t end = may_begin ? end_of_unspoken(view, at) : std::string_view::npos;
    if (end == std::string_view::npos) {
      prose += view[at++];
    } else {
      prose += ' ';
      at = end;
    }
  }
  return prose;
}

std::vector<Word> words_of(std::string_view prose) {
  std::vector<Word> words;
  bool named = false;  // the present run has a digit or underscore in or before it
  std::size_t letters = 0;
  Word word;
  const auto finish = [&](bool name_like) {
    const bool variable = spaced(word.script) && (letters < 2 || named || name_like);
    if (letters > 0 && !variable && !abbreviation(prose.substr(word.offset, word.bytes))) {
      word.weight = weight_of(word.script, letters);
      words.push_back(word);
    }
    letters = 0;
  };
  for (std::size_t at = 0; at < prose.size();) {
    const CodePoint c = code_point_at(prose, at);
    const Kind kind = kind_of(c.value);
    if (kind == Kind::kMark && letters > 0) {
      word.bytes += c.bytes;
    } else if (kind == Kind::kLetter) {
      const Script script = script_of(c.value);
      if (letters > 0 && script != word.script) finish(false);
      if (letters == 0) word = {at, 0, script, 1};
      ++letters;
      word.bytes += c.bytes;
    } else {
      finish(kind == Kind::kNameLike);
      named = kind == Kind::kNameLike;
    }
    at += c.bytes;
  }
  finish(false);
  return words;
}

}  // namespace troupe
