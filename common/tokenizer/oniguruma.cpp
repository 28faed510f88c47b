#include "common/tokenizer/oniguruma.h"

#include <cstddef>
#include <string_view>

#include "common/base/error.h"
#include "common/base/text.h"

namespace troupe {
namespace {

// Oniguruma's \w: Alphabetic, M, Nd, Pc, and the numbers of Latin-1.
constexpr std::string_view kWord =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";

/// One pass over a pattern, from left to right.
class Rewriter {
 public:
  Rewriter(const std::string& pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_member(c);
      } else if (c == '[') {
        open_class();
      } else if (c == '(') {
        open_group();
      } else if (c == '{') {
        interval();
      } else {
        take(1);
      }
    }
    return result_;
  }

 private:
  void take(std::size_t bytes) {
    result_.append(pattern_, at_, bytes);
    at_ += bytes;
  }
  void put(std::string_view text, std::size_t instead_of) {
    result_.append(text);
    at_ += instead_of;
  }
  std::string_view rest() const { return std::string_view(pattern_).substr(at_); }

  [[noreturn]] void refuse(const std::string& construct) const {
    throw ConfigError(where_ + ": regular expression \"" + beginning_of(pattern_) + "\": " + construct + " is not supported (at offset " +
                      std::to_string(at_) + ")");
  }

  void escape() {
    const char c = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    const bool letter_or_digit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (c == 'p' || c == 'P') return property();
    if (c == 'w' || c == 'W') return word(c == 'W');
    if (c == 'u') return code_point();
    if (letter_or_digit && std::string_view("sSdDnrtfaeAzZ").find(c) == std::string_view::npos &&
        !(c == 'x' && rest().starts_with("\\x{"))) {
      refuse(std::string("\\") + c);
    }
    take(2);
  }

  /// \p{Han}: a script has a longer name than a general category, and PCRE2 would take characters that it shares in as well.
  void property() {
    const std::size_t end = rest().find('}');
    if (!rest().substr(2).starts_with('{') || end == std::string_view::npos) refuse("\\p without a name in braces");
    std::string_view name = rest().substr(3, end - 3);
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    if (name.size() <= 2) return take(end + 1);
    put("\\" + std::string(1, pattern_[at_ + 1]) + "{" + (negated ? "^" : "") + "sc:" + std::string(name) + "}", end + 1);
  }

  void word(bool negated) {
    if (in_class_ && negated) refuse("\\W in a class");
    const std::string set(kWord);
    put(in_class_ ? set : (negated ? "[^" : "[") + set + "]", 2);
  }

  void code_point() {
    const std::string_view digits = rest().substr(2, 4);
    if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) refuse("\\u");
    put("\\x{" + std::string(digits) + "}", 6);
  }

  void open_class() {
    in_class_ = true;
    take(rest().starts_with("[^") ? 2 : 1);
    if (rest().starts_with(']')) take(1);  // a literal one
  }

  void class_member(char c) {
    if (c == '[') refuse("a class in a class");
    if (rest().starts_with("&&")) refuse("&&");
    if (c == ']') in_class_ = false;
    take(1);
  }

  void open_group() {
    if (rest().starts_with("(*")) refuse("(*");
    if (!rest().starts_with("(?")) return take(1);
    for (const std::string_view known : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:"}) {
      if (rest().starts_with(known)) return take(known.size());
    }
    if (at_ == 0 && rest().starts_with("(?i)")) return take(4);  // further in, it would end at different places
    refuse(std::string(rest().substr(0, 4)));
  }

  /// {,n} begins at 0, and {1,n}+ is no possessive interval but a repeated one.
  void interval() {
    const std::size_t end = rest().find('}');
    const std::string_view inside = rest().substr(1, end == std::string_view::npos ? 0 : end - 1);
    if (inside.empty() || inside.find_first_not_of("0123456789,") != std::string_view::npos) return take(1);
    const std::string_view least = inside.substr(0, inside.find(','));
    const std::string_view behind = rest().substr(end + 1);
    if (behind.starts_with('+')) {
      if (least != "1" && least != "0" && !least.empty()) refuse("a repeated interval");
      return put(least == "1" ? "+" : "*", end + 2);
    }
    if (behind.starts_with('?') && inside.find(',') == std::string_view::npos) refuse("{n}?");
    put(least.empty() ? "{0" : "{", 1);
    take(end);
  }

  const std::string& pattern_;
  const std::string& where_;
  std::string result_;
  std::size_t at_ = 0;
  bool in_class_ = false;
};

}  // namespace

std::string pcre2_of_oniguruma(const std::string& pattern, const std::string& where) { return Rewriter(pattern, where).run(); }

}  // namespace troupe
