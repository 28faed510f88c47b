#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/tokenizer/newer_characters.h"

namespace troupe {

/// A Unicode regular expression of a tokenizer.json (in Oniguruma's syntax, with the characters of Unicode 16), compiled by PCRE2
/// with its JIT. Immutable: any thread.
class Regex {
 public:
  /// @throws ConfigError naming `where`, the pattern and the error in it, or the construct that is not supported.
  Regex(const std::string& pattern, const std::string& where);
  /// The expression that matches exactly `text`.
  static Regex literal(const std::string& text, const std::string& where);

  struct Piece {
    std::size_t begin;
    std::size_t end;
    bool match;
  };
  /// Calls `take(begin, end, match)` for the matches in `text` (well-formed UTF-8) and for what stands between them, in
  /// order, covering all of it. @throws ConfigError where matching takes more steps than any sensible pattern does.
  template <class Take>
  void split(std::string_view text, Take take) const {
    std::string older;
    if (!literal_ && has_newer_characters(text)) text = older = with_older_characters(text);
    std::size_t covered = 0;
    for (std::size_t start = 0; start < text.size();) {
      const auto [begin, end] = next_match(text, start);
      if (begin == text.size()) break;
      if (begin > covered) take(covered, begin, false);
      if (end > begin) take(begin, end, true);
      covered = end;
      start = end > begin ? end : next_character(text, end);
    }
    if (covered < text.size()) take(covered, text.size(), false);
  }
  std::vector<Piece> split(std::string_view text) const;

 private:
  struct Code;
  Regex(std::shared_ptr<const Code> code, bool literal, std::string where);
  static std::shared_ptr<const Code> compiled(const std::string& pattern, const std::string& shown, const std::string& where);

  /// Bounds of the first match at or behind `start`; {text.size(), text.size()} where there is none.
  std::pair<std::size_t, std::size_t> next_match(std::string_view text, std::size_t start) const;
  static std::size_t next_character(std::string_view text, std::size_t at);

  std::shared_ptr<const Code> code_;  // shared by the copies of this expression
  bool literal_;
  std::string where_;
};

}  // namespace troupe
