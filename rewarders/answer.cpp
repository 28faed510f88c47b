#include "rewarders/answer.h"

#include <algorithm>
#include <string>

#include "common/base/text.h"

namespace troupe {
namespace {

constexpr std::size_t kMaxNumberLength = 200;
constexpr long kMaxExponent = 10000;
constexpr std::size_t kMaxExpressionLength = 400;
constexpr int kMaxDepth = 64;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// [0-9]+ with optional thousands separators, then an optional fraction and exponent.
std::optional<Rational> parse_decimal(std::string_view text) {
  using boost::multiprecision::cpp_int;
  std::string digits;
  long scale = 0;
  std::size_t i = 0;
  std::size_t since_comma = 0;
  bool has_comma = false;
  for (; i < text.size() && (is_digit(text[i]) || text[i] == ','); ++i) {
    if (text[i] == ',') {
      const bool first = !has_comma;
      if (digits.empty() || (first ? digits.size() > 3 : since_comma != 3)) return std::nullopt;
      has_comma = true;
      since_comma = 0;
    } else {
      digits += text[i];
      ++since_comma;
    }
  }
  if (has_comma && since_comma != 3) return std::nullopt;
  if (i < text.size() && text[i] == '.') {
    for (++i; i < text.size() && is_digit(text[i]); ++i, ++scale) digits += text[i];
  }
  if (digits.empty()) return std::nullopt;
  long exponent = 0;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    std::size_t j = i + 1;
    const bool negative = j < text.size() && text[j] == '-';
    if (j < text.size() && (text[j] == '-' || text[j] == '+')) ++j;
    if (j == text.size()) return std::nullopt;
    for (; j < text.size() && is_digit(text[j]); ++j) {
      exponent = exponent * 10 + (text[j] - '0');
      if (exponent > kMaxExponent) return std::nullopt;
    }
    if (negative) exponent = -exponent;
    i = j;
  }
  if (i != text.size()) return std::nullopt;
  const std::size_t first_digit = std::min(digits.find_first_not_of('0'), digits.size() - 1);
  Rational value{cpp_int(digits.substr(first_digit))};  // a leading 0 would make it octal
  const long power = exponent - scale;
  const cpp_int ten_power = boost::multiprecision::pow(cpp_int(10), static_cast<unsigned>(std::abs(power)));
  return power >= 0 ? value * Rational(ten_power) : value / Rational(ten_power);
}

/// "\frac{a}{b}" (also \dfrac, \tfrac) as "a/b".
std::string without_latex_fraction(std::string text) {
  for (const std::string_view name : {"\\dfrac{", "\\tfrac{", "\\frac{"}) {
    const std::size_t at = text.find(name);
    if (at == std::string::npos) continue;
    const std::size_t middle = text.find("}{", at);
    if (middle == std::string::npos || text.back() != '}') return text;
    const std::size_t from = at + name.size();
    return text.substr(0, at) + text.substr(from, middle - from) + "/" + text.substr(middle + 2, text.size() - middle - 3);
  }
  return text;
}

/// Recursive descent over + - * / and parentheses.
class ExpressionParser {
 public:
  ExpressionParser(std::string_view text, std::vector<Rational>* numbers) : text_(text), numbers_(numbers) {}

  std::optional<Rational> whole() {
    const auto value = sum(0);
    skip_spaces();
    return at_ == text_.size() ? value : std::nullopt;
  }

 private:
  void skip_spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }

  bool take(std::string_view token) {
    skip_spaces();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }

  std::optional<Rational> sum(int depth) {
    if (depth > kMaxDepth) return std::nullopt;
    auto left = product(depth);
    while (left) {
      const bool plus = take("+");
      if (!plus && !take("-")) break;
      const auto right = product(depth);
      if (!right) return std::nullopt;
      left = plus ? Rational(*left + *right) : Rational(*left - *right);
    }
    return left;
  }

  std::optional<Rational> product(int depth) {
    auto left = factor(depth);
    while (left) {
      const bool times = take("*") || take("×");
      if (!times && !take("/") && !take("÷")) break;
      const auto right = factor(depth);
      if (!right || (!times && *right == 0)) return std::nullopt;
      left = times ? Rational(*left * *right) : Rational(*left / *right);
    }
    return left;
  }

  std::optional<Rational> factor(int depth) {
    if (depth > kMaxDepth) return std::nullopt;
    if (take("-")) {
      const auto value = factor(depth + 1);
      return value ? std::optional(Rational(-*value)) : std::nullopt;
    }
    if (take("(")) {
      const auto value = sum(depth + 1);
      return value && take(")") ? value : std::nullopt;
    }
    skip_spaces();
    const std::size_t from = at_;
    while (at_ < text_.size() && (is_digit(text_[at_]) || text_[at_] == '.')) ++at_;
    const auto value = parse_decimal(text_.substr(from, at_ - from));
    if (value && numbers_ != nullptr) numbers_->push_back(*value);
    return value;
  }

  std::string_view text_;
  std::vector<Rational>* numbers_;
  std::size_t at_ = 0;
};

}  // namespace

std::optional<Rational> parse_number(std::string_view text) {
  std::string cleaned(trim(text));
  if (cleaned.size() > kMaxNumberLength) return std::nullopt;
  while (cleaned.size() >= 2 && cleaned.front() == '$' && cleaned.back() == '$') {
    cleaned = std::string(trim(std::string_view(cleaned).substr(1, cleaned.size() - 2)));
  }
  cleaned = without_latex_fraction(std::move(cleaned));
  bool negative = false;
  std::string_view rest = trim(cleaned);
  const auto drop_front = [&](std::string_view prefix) {
    if (!rest.starts_with(prefix)) return false;
    rest = trim(rest.substr(prefix.size()));
    return true;
  };
  drop_front("\\$") || drop_front("$");
  if (drop_front("-") || drop_front("−")) {
    negative = true;
  } else {
    drop_front("+");
  }
  drop_front("\\$") || drop_front("$");
  if (rest.ends_with('.')) rest.remove_suffix(1);
  bool percent = false;
  for (const std::string_view sign : {"\\%", "%"}) {
    if (!percent && rest.ends_with(sign)) {
      rest = trim(rest.substr(0, rest.size() - sign.size()));
      percent = true;
    }
  }
  std::optional<Rational> value;
  const std::size_t slash = rest.find('/');
  if (slash == std::string_view::npos) {
    value = parse_decimal(rest);
  } else {
    const auto top = parse_decimal(trim(rest.substr(0, slash)));
    const auto bottom = parse_decimal(trim(rest.substr(slash + 1)));
    if (top && bottom && *bottom != 0) value = Rational(*top / *bottom);
  }
  if (!value) return std::nullopt;
  if (percent) *value /= 100;
  return negative ? Rational(-*value) : *value;
}

std::optional<Rational> evaluate_arithmetic(std::string_view expression, std::vector<Rational>* numbers) {
  if (expression.size() > kMaxExpressionLength) return std::nullopt;
  return ExpressionParser(trim(expression), numbers).whole();
}

}  // namespace troupe
