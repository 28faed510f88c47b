#include "common/chat/lexer.h"

#include <algorithm>

#include "common/base/error.h"
#include "common/base/utf8.h"
#include "common/chat/python_text.h"
#include "common/chat/string_literal.h"

namespace troupe {
namespace {

using Kind = TemplateToken::Kind;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

/// Ends of line as \n, without one at the very end.
std::string normalised(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& where) : source_(normalised(source)), where_(where) {}

  std::vector<TemplateToken> run() {
    while (position_ < source_.size()) {
      const std::size_t begin = next_tag();
      if (begin == std::string::npos) {
        add_text(rest());
        break;
      }
      const char kind = source_[begin + 1];
      const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
      take_text(begin, sign, kind != '{');
      position_ = begin + 2 + (sign == '-' || sign == '+' ? 1 : 0);
      if (kind == '#') skip_comment();
      else if (kind == '{') lex_tag(Kind::kPrintBegin, Kind::kPrintEnd);
      else if (const std::size_t raw = raw_begin()) take_raw(raw);
      else lex_tag(Kind::kBlockBegin, Kind::kBlockEnd);
      line_starts_ = source_[position_ - 1] == '\n';
    }
    add(Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw ConfigError(where_ + ":" + std::to_string(line_) + ": " + what); }
  std::string_view rest() const { return std::string_view(source_).substr(position_); }
  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void add_text(std::string_view text) {
    if (!text.empty()) add(Kind::kText, std::string(text));
  }

  void advance_to(std::size_t position) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(position_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(position), '\n'));
    position_ = position;
  }

  /// Where the first tag from the position on begins.
  std::size_t next_tag() const {
    for (std::size_t at = source_.find('{', position_); at != std::string::npos; at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() && std::string_view("{%#").find(source_[at + 1]) != std::string_view::npos) return at;
    }
    return std::string::npos;
  }

  /// The text up to a tag at `end` that opens with `sign`: without white space before it for -, and without the indentation
  /// of a tag that begins its line where it is a block's.
  void take_text(std::size_t end, char sign, bool is_block) {
    std::string_view text = rest().substr(0, end - position_);
    if (sign == '-') {
      text = python_text::strip(text, std::nullopt, false, true);
    } else if (sign != '+' && is_block) {
      const std::size_t line = text.rfind('\n') + 1;  // 0 where there is none
      if ((line > 0 || line_starts_) && python_text::strip(text.substr(line), std::nullopt).empty()) text = text.substr(0, line);
    }
    add_text(text);
    advance_to(end);
  }

  std::size_t skip_space(std::size_t at) const {
    const std::string_view tail = std::string_view(source_).substr(at);
    return at + (tail.size() - python_text::strip(tail, std::nullopt, true, false).size());
  }

  /// Behind a tag's end `mark` at `at`, which follows `sign`: - takes the white space with it, none a block's newline.
  std::size_t behind(std::size_t at, std::string_view mark, char sign) const {
    at += mark.size();
    if (sign == '-') return skip_space(at);
    return sign != '+' && mark != "}}" && at < source_.size() && source_[at] == '\n' ? at + 1 : at;
  }

  void skip_comment() {
    const std::size_t end = source_.find("#}", position_);
    if (end == std::string::npos) fail("the comment that begins here has no end");
    const char sign = end > position_ ? source_[end - 1] : '\0';
    advance_to(behind(end, "#}", sign));
  }

  /// Behind "raw %}" where that stands at the position; 0 otherwise.
  std::size_t raw_begin() const {
    const std::size_t word = skip_space(position_);
    if (source_.compare(word, 3, "raw") != 0) return 0;
    const std::size_t end = skip_space(word + 3);
    if (source_.compare(end, 2, "%}") == 0) return end + 2;
    return source_.compare(end, 3, "-%}") == 0 ? skip_space(end + 3) : 0;
  }

  void take_raw(std::size_t begin) {
    const int first_line = line_;
    advance_to(begin);
    line_starts_ = source_[position_ - 1] == '\n';
    for (std::size_t at = source_.find("{%", position_); at != std::string::npos; at = source_.find("{%", at + 1)) {
      const char sign = at + 2 < source_.size() ? source_[at + 2] : '\0';
      const std::size_t word = skip_space(at + (sign == '-' || sign == '+' ? 3 : 2));
      if (source_.compare(word, 6, "endraw") != 0) continue;
      const std::size_t end = skip_space(word + 6);
      const bool is_signed = end < source_.size() && (source_[end] == '-' || source_[end] == '+');
      if (source_.compare(end + (is_signed ? 1 : 0), 2, "%}") != 0) continue;
      take_text(at, sign, true);
      advance_to(behind(end + (is_signed ? 1 : 0), "%}", is_signed ? source_[end] : '\0'));
      return;
    }
    line_ = first_line;
    fail("the raw block that begins here has no end");
  }

  void lex_tag(Kind begin, Kind end) {
    const std::string_view mark = begin == Kind::kPrintBegin ? "}}" : "%}";
    add(begin, "");
    open_.clear();
    while (position_ < source_.size()) {
      if (open_.empty() && take_end(mark, end)) return;
      lex_token();
    }
    fail("expected the tag's end " + std::string(mark) + ", found the end of the template");
  }

  /// Takes the end of the tag where it stands at the position.
  bool take_end(std::string_view mark, Kind kind) {
    const char c = source_[position_];
    const char sign = c == '-' || (c == '+' && mark == "%}") ? c : '\0';
    const std::size_t at = position_ + (sign != '\0' ? 1 : 0);
    if (source_.compare(at, 2, mark) != 0) return false;
    add(kind, "");
    advance_to(behind(at, mark, sign));
    return true;
  }

  void lex_token() {
    const std::size_t space = skip_space(position_);
    if (space > position_) return advance_to(space);
    const char c = source_[position_];
    if (is_digit(c)) return lex_number();
    if (is_name_start(c)) return take(Kind::kName, [](char d) { return is_name_start(d) || is_digit(d); });
    if (c == '\'' || c == '"') return lex_string(c);
    lex_operator();
  }

  template <class Belongs>
  void take(Kind kind, Belongs belongs) {
    std::size_t end = position_;
    while (end < source_.size() && belongs(source_[end])) ++end;
    add(kind, source_.substr(position_, end - position_));
    position_ = end;
  }

  void lex_number() {
    const std::size_t begin = position_;
    const auto digits = [&](std::size_t at) {
      while (at < source_.size() && (is_digit(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() && is_digit(source_[at + 1])))) ++at;
      return at;
    };
    const auto digit_at = [&](std::size_t at) { return at < source_.size() && is_digit(source_[at]); };
    std::size_t end = digits(begin);
    const std::size_t integer_end = end;
    const bool is_part = begin > 0 && source_[begin - 1] == '.';  // a.0.1 is no fraction
    if (!is_part && source_.compare(end, 1, ".") == 0 && digit_at(end + 1)) end = digits(end + 1);
    if (!is_part && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const std::size_t sign = end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-') ? 1 : 0;
      if (digit_at(end + 1 + sign)) end = digits(end + 1 + sign);
    }
    std::string text = source_.substr(begin, end - begin);
    std::erase(text, '_');
    if (end < source_.size() && is_name_start(source_[end])) fail("expected a decimal number, found " + text + source_[end]);
    add(end == integer_end ? Kind::kInteger : Kind::kFloat, std::move(text));
    position_ = end;
  }

  void lex_string(char quote) {
    std::size_t end = position_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail("the string that begins here has no end");
    const std::string_view inside = std::string_view(source_).substr(position_ + 1, end - position_ - 1);
    try {
      add(Kind::kString, string_literal_value(inside));
    } catch (const ConfigError& error) {
      fail(error.what());
    }
    advance_to(end + 1);
  }

  void lex_operator() {
    for (const std::string_view word : {"**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
                                        ">", "<", "=", ".", ":", "|", ",", ";"}) {
      if (!rest().starts_with(word)) continue;
      balance(word[0]);
      add(Kind::kOperator, std::string(word));
      position_ += word.size();
      return;
    }
    fail("unexpected character '" + source_.substr(position_, code_point_at(source_, position_).bytes) + "'");
  }

  /// A tag's end does not count inside brackets.
  void balance(char c) {
    if (c == '(') open_ += ')';
    if (c == '[') open_ += ']';
    if (c == '{') open_ += '}';
    if (c != ')' && c != ']' && c != '}') return;
    if (open_.empty()) fail(std::string("unexpected '") + c + "'");
    if (open_.back() != c) fail(std::string("unexpected '") + c + "', expected '" + open_.back() + "'");
    open_.pop_back();
  }

  std::string source_;
  const std::string& where_;
  std::size_t position_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // whether the position begins a line, or a tag took its newline
  std::string open_;         // the closing brackets that are due
  std::vector<TemplateToken> tokens_;
};

}  // namespace

std::vector<TemplateToken> lex_template(std::string_view source, const std::string& where) { return Lexer(source, where).run(); }

}  // namespace troupe
