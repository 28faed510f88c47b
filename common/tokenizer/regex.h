#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// A Unicode regular expression of a tokenizer.json, compiled by PCRE2 with its JIT. Immutable: any thread.
class Regex {
 public:
  /// @throws ConfigError naming `where`, the pattern and the offset of the error in it.
  Regex(const std::string& pattern, const std::string& where);
  /// The expression that matches exactly `text`.
  static Regex literal(const std::string& text, const std::string& where);

  struct Piece {
    std::size_t begin;
    std::size_t end;
    bool match;
  };
  /// The matches in `text` (well-formed UTF-8) and what stands between them, in order, covering all of it.
  /// @throws ConfigError where matching takes more steps than any sensible pattern does.
  std::vector<Piece> split(std::string_view text) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;  // shared by the copies of this expression
  std::string where_;
};

}  // namespace troupe
