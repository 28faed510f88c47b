#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// The chain of thought of a completion: between the first <think> and </think>, either of which may be missing; without both, all.
std::string_view thought_of(std::string_view completion);

/// A text without what is in no language: code (fenced or in back quotes), formulas ($ $, \( \), \[ \], environments, commands), tags and
/// links. Each of them becomes a space. Well-formed UTF-8 in and out; ill-formed bytes become U+FFFD.
std::string prose_of(std::string_view text);

enum class Script { kLatin, kGreek, kCyrillic, kHebrew, kArabic, kDevanagari, kBengali, kTamil, kTelugu, kThai, kHangul, kHan, kKana, kOther };

/// A word of a prose: a run of letters of one script, of at least two letters where a single one would be a variable's name.
struct Word {
  std::size_t offset = 0;  // in bytes
  std::size_t bytes = 0;
  Script script = Script::kOther;
  double weight = 1;       // in words: half a word for each Han character or kana, a quarter for each letter of Thai
  bool operator==(const Word&) const = default;
};

/// The words in order. A run with digits or underscores beside it is a name in code, and no word; nor is an abbreviation of up to four
/// capitals, which every language borrows.
std::vector<Word> words_of(std::string_view prose);

}  // namespace troupe
