#include "rewarders/maths/lexer.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "common/base/text.h"

namespace troupe {
namespace {

using Type = MathTokenType;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '~'; }

constexpr std::array<std::string_view, 16> kTextCommands = {"text",   "mbox",    "textbf",   "textit",  "textrm",  "textnormal",
                                                            "mathrm", "mathbf",  "mathit",   "mathsf",  "mathcal", "operatorname",
                                                            "textsf", "texttt",  "boldsymbol", "hbox"};

class MathLexer {
 public:
  MathLexer(std::string_view text, MathCommas commas)
      : text_(text), commas_(commas), spaced_commas_(text.find(", ") != std::string_view::npos) {}

  std::vector<MathToken> run() {
    while (at_ < text_.size()) next();
    emit(Type::kEnd, "");
    return std::move(tokens_);
  }

 private:
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool starts(std::string_view what) const { return text_.substr(at_).starts_with(what); }

  void emit(Type type, std::string_view what) {
    tokens_.push_back({type, std::string(what), space_});
    space_ = false;
  }
  void emit(const MathWord& word) {
    if (word.type == Type::kIgnored) {
      space_ = true;
    } else {
      emit(word.type, word.text);
    }
  }

  void next() {
    const char c = peek();
    if (is_space(c) || c == '$') {
      space_ = true;
      ++at_;
      if (c == '$' && !tokens_.empty() && next_line_is_formula()) emit(Type::kOperator, ",");
    } else if (is_digit(c) || (c == '.' && is_digit(peek(1)))) {
      number();
    } else if (is_letter(c)) {
      word();
    } else if (c == '\\') {
      command();
    } else if ((static_cast<unsigned char>(c) & 0x80U) != 0) {
      glyph();
    } else {
      punctuation();
    }
  }

  /// "$y = 1$⏎$z = 2$": each line of its own.
  bool next_line_is_formula() const {
    const std::size_t line = text_.find_first_not_of(" \t\r", at_);
    if (line == std::string_view::npos || text_[line] != '\n') return false;
    const std::size_t next = text_.find_first_not_of(" \t\r\n", line);
    return next != std::string_view::npos && text_[next] == '$';
  }

  void glyph() {
    const auto found = math_glyph(text_.substr(at_));
    if (!found) {
      emit(Type::kBad, "");
      at_ = text_.size();
      return;
    }
    at_ += found->bytes;
    const std::string_view name = found->word.text;
    if (name.starts_with('^')) {
      emit(Type::kOperator, "^");
      emit(Type::kNumber, name.substr(1));
    } else if (name.size() == 3 && name[1] == '/') {
      for (const std::string_view part : {name.substr(0, 1), name.substr(2)}) {
        if (part == name.substr(0, 1)) emit(Type::kCommand, "frac");
        emit(Type::kOpen, "{");
        emit(Type::kNumber, part);
        emit(Type::kClose, "}");
      }
    } else {
      emit(found->word);
    }
  }

  void punctuation() {
    static constexpr std::array<std::string_view, 7> kPairs = {"<=", ">=", "!=", "==", "~=", "**", "+-"};
    for (const std::string_view pair : kPairs) {
      if (!starts(pair)) continue;
      at_ += 2;
      emit(Type::kOperator, pair == "==" ? "=" : pair == "~=" ? "~" : pair == "**" ? "^" : pair);
      return;
    }
    const char c = peek();
    ++at_;
    const std::string_view one = text_.substr(at_ - 1, 1);
    if (c == '(' || c == '[' || c == '{') {
      depth_ += c == '{' ? 0 : 1;
      emit(Type::kOpen, one);
    } else if (c == ')' || c == ']' || c == '}') {
      depth_ -= c == '}' ? 0 : 1;
      emit(Type::kClose, one);
    } else if (std::string_view("+-*/:^_!%'|&<>=,;").find(c) != std::string_view::npos) {
      emit(Type::kOperator, one);
    } else if (c == '.' && only_closing_left()) {
      return;
    } else if (c != '"' && c != '`') {
      emit(Type::kBad, one);
    }
  }

  /// A full stop before nothing but spaces and closing signs ends the sentence.
  bool only_closing_left() const { return text_.find_first_not_of(" \t\r\n.$}", at_) == std::string_view::npos; }

  void take_digits(std::string& digits) {
    while (is_digit(peek())) digits += text_[at_++];
  }

  /// The bytes between a group of digits and the next group of three: a comma or one space.
  std::size_t separator_length(std::size_t first_group) const {
    constexpr std::array<std::string_view, 8> kAlways = {"{,}", ",\\!\\!", ",\\! ", ",\\!", "\\!,", "\\,", "\\ ", "{,\\!}"};
    std::size_t length = 0;
    for (const std::string_view sure : kAlways) {
      if (length == 0 && starts(sure)) length = sure.size();
    }
    const bool sure_comma = length > 0;
    const bool indian = starts(",\\!") && is_digit(peek(length)) && is_digit(peek(length + 1)) && !is_digit(peek(length + 2));
    if (indian) return length;  // 56,\!01,\!78,\!000
    if (length == 0 && peek() == ',' && (depth_ == 0 || spaced_commas_)) length = 1;
    if (length == 0 && peek() == ' ' && peek(1) != ' ') length = 1;
    if (length == 0 || (!sure_comma && (first_group > 3))) return 0;
    const bool three = is_digit(peek(length)) && is_digit(peek(length + 1)) && is_digit(peek(length + 2));
    return three && !is_digit(peek(length + 3)) ? length : 0;
  }

  void number() {
    std::string digits;
    const bool in_list = at_ > 0 && text_[at_ - 1] == ',' && ungrouped_end_ == at_ - 1;  // the 54 of "27,54,108"
    take_digits(digits);
    const std::size_t first_group = digits.size();
    const bool grouped = first_group > 0 && (digits[0] != '0') && commas_ == MathCommas::kGroup && !in_list;
    while (grouped) {
      const std::size_t separator = separator_length(first_group);
      if (separator == 0) break;
      at_ += separator;
      take_digits(digits);
    }
    if (digits.size() == first_group) ungrouped_end_ = at_;
    if (commas_ == MathCommas::kPoint && peek() == ',' && is_digit(peek(1))) {
      ++at_;
      digits += '.';
      take_digits(digits);
    }
    if (peek() == '.' && is_digit(peek(1))) {
      ++at_;
      digits += '.';
      take_digits(digits);
    }
    repeating_digits(digits);
    exponent(digits);
    emit(Type::kNumber, digits);
  }

  /// 0.\overline{3}, 0.1\bar{6}, 0.\dot{3}
  void repeating_digits(std::string& digits) {
    const bool point = digits.find('.') != std::string::npos;
    const std::size_t skip = point ? 0 : 1;
    if (!point && peek() != '.') return;
    for (const std::string_view mark : {"\\overline{", "\\bar{", "\\dot{"}) {
      if (!text_.substr(at_ + skip).starts_with(mark)) continue;
      const std::size_t from = at_ + skip + mark.size();
      const std::size_t end = text_.find('}', from);
      if (end == std::string_view::npos || end == from) return;
      const std::string_view repeated = text_.substr(from, end - from);
      if (!std::all_of(repeated.begin(), repeated.end(), is_digit)) return;
      digits += (point ? "(" : ".(") + std::string(repeated) + ")";
      at_ = end + 1;
      return;
    }
  }

  void exponent(std::string& digits) {
    if (peek() != 'e' && peek() != 'E') return;
    const std::size_t sign = peek(1) == '-' || peek(1) == '+' ? 1 : 0;
    std::size_t end = 1 + sign;
    while (is_digit(peek(end))) ++end;
    if (end == 1 + sign || is_letter(peek(end)) || peek(end) == '.') return;
    digits += text_.substr(at_, end);
    at_ += end;
  }

  void word() {
    const std::size_t from = at_;
    while (is_letter(peek())) ++at_;
    for (const std::string_view joint : {"or", "and"}) {  // "7or x", "1orW = 2"
      const std::string_view behind = text_.substr(from, at_ - from);
      if (!after_quantity() || !behind.starts_with(joint) || behind.size() <= joint.size()) continue;
      if (behind[joint.size()] >= 'A' && behind[joint.size()] <= 'Z') at_ = from + joint.size();
    }
    const std::string_view run = text_.substr(from, at_ - from);
    std::string lower(run);
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (const auto known = math_word(run.size() > 2 ? std::string_view(lower) : run)) return emit(*known);
    if (run.size() >= 2 && after_quantity() && math_unit(lower)) return emit(Type::kText, run);
    if (run.size() < 4 || run_of_functions(run)) return letters(run);
    emit(Type::kText, run);
  }

  bool after_quantity() const {
    if (tokens_.empty()) return false;
    const MathToken& last = tokens_.back();
    return last.type == Type::kNumber || last.type == Type::kClose || last.type == Type::kConstant || last.text == "/";
  }

  static std::size_t function_length(std::string_view run) {
    for (const std::size_t length : {6U, 5U, 4U, 3U, 2U}) {
      if (run.size() < length) continue;
      const auto known = math_word(run.substr(0, length));
      if (known && (known->type == Type::kFunction || known->text == "sqrt" || known->text == "pi")) return length;
    }
    return 0;
  }

  /// "sinx", "xlnx": letters of which all but three at most belong to functions.
  static bool run_of_functions(std::string_view run) {
    std::size_t letters = 0;
    while (!run.empty()) {
      const std::size_t length = function_length(run);
      letters += length == 0 ? 1 : 0;
      run.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return letters <= 3;
  }

  void letters(std::string_view run) {
    while (!run.empty()) {
      const std::size_t length = function_length(run);
      if (length > 0) {
        emit(*math_word(run.substr(0, length)));
      } else {
        letter(run.substr(0, 1));
      }
      run.remove_prefix(std::max<std::size_t>(length, 1));
    }
  }

  void letter(std::string_view one) { emit(one == "e" || one == "i" ? Type::kConstant : Type::kSymbol, one); }

  void command() {
    if (!is_letter(peek(1))) return escaped();
    std::size_t end = at_ + 1;
    while (end < text_.size() && is_letter(text_[end])) ++end;
    std::string_view name = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end;
    if (std::find(kTextCommands.begin(), kTextCommands.end(), name) != kTextCommands.end()) return text_argument(name);
    auto known = math_command(name);
    for (const std::string_view begun : {std::string_view("qquad"), std::string_view("quad"), name.substr(0, name.size() - 1)}) {
      if (known || begun.size() < 2 || !name.starts_with(begun)) continue;  // "\quador", "\pix": a space was forgotten
      known = math_command(begun);
      if (known) at_ -= name.size() - begun.size();
    }
    if (!known) return emit(Type::kSymbol, "\\" + std::string(name));
    if (name == "left" || name == "right" || name == "mleft" || name == "mright") {
      if (peek() == '.') ++at_;  // an invisible bracket
      return;
    }
    if (known->type == Type::kOpen && known->text != "<") ++depth_;
    if (known->type == Type::kClose && known->text != ">") --depth_;
    emit(*known);
  }

  void escaped() {
    const char c = peek(1);
    at_ += 2;
    if (at_ > text_.size()) return;  // a backslash at the very end
    if (c == '{') {
      ++depth_;
      emit(Type::kOpen, "\\{");
    } else if (c == '}') {
      --depth_;
      emit(Type::kClose, "\\}");
    } else if (c == '\\') {
      emit(Type::kOperator, "\\\\");
    } else if (c == '%' || c == '|') {
      emit(Type::kOperator, text_.substr(at_ - 1, 1));
    } else if (std::string_view(" ,;:!>$()[]\n").find(c) != std::string_view::npos) {
      space_ = true;
    } else {
      emit(Type::kBad, "");
    }
  }

  /// \text{…}: words that mean something are read as such, other single letters as symbols, the rest is text.
  void text_argument(std::string_view name) {
    while (is_space(peek())) ++at_;
    if (peek() != '{') return;  // \mathbf x
    int depth = 1;
    const std::size_t from = ++at_;
    for (; at_ < text_.size() && depth > 0; ++at_) depth += peek() == '{' ? 1 : peek() == '}' ? -1 : 0;
    if (depth > 0) return emit(Type::kBad, "");
    std::string_view inside = trim(text_.substr(from, at_ - from - 1));
    while (!inside.empty() && (inside.back() == ',' || inside.back() == '.')) inside = trim(inside.substr(0, inside.size() - 1));
    while (inside.starts_with(',') || inside.starts_with('~')) inside = trim(inside.substr(1));
    if (inside.size() == 3 && inside.front() == '(' && inside.back() == ')') inside = inside.substr(1, 1);
    if (inside.empty()) return;
    const bool upright = name == "mathrm" || name == "text";
    const bool apart = text_[from] == '~';  // \mathrm{~T}: as units are written
    if (upright && after_quantity() && peek() != '(' && (apart || math_unit(inside))) return emit(Type::kText, inside);  // 5 m, 2 min
    if (inside.size() == 1 && is_letter(inside[0])) {
      return upright && inside == "i" ? emit(Type::kConstant, "i") : letter(inside);
    }
    if (const auto known = math_word(inside)) return emit(*known);
    if (std::none_of(inside.begin(), inside.end(), is_letter) && inside.find_first_of("0123456789") != std::string_view::npos) {
      for (MathToken& token : MathLexer(inside, commas_).run()) {
        if (token.type != Type::kEnd) tokens_.push_back(std::move(token));
      }
      return;
    }
    emit(Type::kText, inside);
  }

  std::string_view text_;
  MathCommas commas_;
  bool spaced_commas_;
  std::size_t at_ = 0;
  std::size_t ungrouped_end_ = std::string_view::npos;  // where the last number without separators ended
  int depth_ = 0;
  bool space_ = false;
  std::vector<MathToken> tokens_;
};

}  // namespace

std::vector<MathToken> math_tokens(std::string_view text, MathCommas commas) {
  if (text.find("\\begin") != std::string_view::npos || text.find("\\\\") == std::string_view::npos) {
    return MathLexer(text, commas).run();
  }
  std::string single;  // "\\frac" where "\frac" was meant: a string escaped once too often
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool twice = text[i] == '\\' && i + 2 < text.size() && text[i + 1] == '\\' && is_letter(text[i + 2]);
    if (!twice) single += text[i];
  }
  return MathLexer(single, commas).run();
}

}  // namespace troupe
