#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace troupe {

/// A regular expression that a user writes and that texts of models are matched with: PCRE2's, read as ECMAScript reads what the two
/// write differently (`$` is the end alone, `.` no line end, \uXXXX a character, an empty class nothing). A match takes so many steps at
/// most (200,000 and 20 for each byte of the text), whatever pattern and text are: one that takes more is none. So what comes out
/// depends on pattern and text alone, never on the machine. Immutable: any thread.
class Pattern {
 public:
  struct Options {
    bool whole = false;  // the text must match from its beginning to its end
    bool ignore_case = false;
  };
  /// @throws ConfigError saying what is wrong, and where in the pattern.
  Pattern(const std::string& pattern, Options options);
  explicit Pattern(const std::string& pattern) : Pattern(pattern, Options()) {}

  /// How many groups it has.
  int groups() const;
  /// Whether the text matches somewhere, or as a whole.
  bool matches(std::string_view text) const;
  /// The first group of the last match, empty where it took no part; nothing where there is no match.
  std::optional<std::string> last_group(std::string_view text) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;  // shared by the copies of this pattern
};

}  // namespace troupe
