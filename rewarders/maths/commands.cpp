#include <algorithm>

#include "rewarders/maths/parser.h"

namespace troupe {

MathNode MathParser::command() {
  const std::string name = token().text;
  ++at_;
  if (name == "frac") {
    if (const int order = at_derivative(); order > 0) return derivative(order);
    MathNode top = argument();
    return math_node(MathKind::kQuotient, "", std::move(top), argument());
  }
  if (name == "binom") {
    MathNode n = argument();
    return math_node(MathKind::kApply, "binom", std::move(n), argument());
  }
  if (name == "sqrt") return root();
  if (name == "begin") return environment();
  if (name == "mathbb") return math_node(MathKind::kNumberSet, raw_group());
  if (name == "emptyset") return math_node(MathKind::kNumberSet, "empty");
  if (name == "R" || name == "Z" || name == "Q" || name == "N" || name == "C") return math_node(MathKind::kNumberSet, name);
  if (name == "bar" || name == "vec" || name == "hat" || name == "tilde") return decorated(name);
  if (name == "sum" || name == "prod" || name == "int" || name == "lim" || name == "bigcup" || name == "bigcap") {
    return big_operator(name);
  }
  return fail();
}

/// Behind \frac: the order of \frac{d}{dx} or \frac{d^2}{dx^2}, with d or \partial; 0 for any other fraction.
int MathParser::at_derivative() const {
  const auto is_d = [&](std::size_t ahead) {
    return token(ahead).is(Type::kSymbol, "d") || token(ahead).is(Type::kSymbol, "\\partial");
  };
  const auto order_at = [&](std::size_t ahead, std::size_t& length) {
    const bool raised = token(ahead).is(Type::kOperator, "^");
    const std::size_t brace = raised && token(ahead + 1).is(Type::kOpen, "{") ? 1 : 0;
    const std::string& digits = token(ahead + 1 + brace).text;
    length = raised ? 2 + 2 * brace : 0;
    return !raised ? 1 : digits.size() == 1 && digits[0] >= '1' && digits[0] <= '4' ? digits[0] - '0' : 0;
  };
  std::size_t top = 0;
  std::size_t bottom = 0;
  if (!token().is(Type::kOpen, "{") || !is_d(1)) return 0;
  const int order = order_at(2, top);
  const std::size_t below = 3 + top;  // behind the first group
  const bool symbol = token(below).is(Type::kOpen, "{") && is_d(below + 1) && token(below + 2).type == Type::kSymbol;
  if (!symbol || !token(2 + top).is(Type::kClose, "}") || order_at(below + 3, bottom) != order) return 0;
  return token(below + 3 + bottom).is(Type::kClose, "}") ? order : 0;
}

/// The product behind it, as diff(product, symbol) once an order.
MathNode MathParser::derivative(int order) {
  raw_group();
  const MathNode symbol = math_node(MathKind::kSymbol, token(2).text);
  raw_group();
  MathNode body = term();
  for (int i = 0; i < order && !failed_; ++i) body = math_node(MathKind::kApply, "diff", std::move(body), symbol);
  return body;
}

/// What \frac takes: braces, or one digit, or one other thing.
MathNode MathParser::argument() {
  MathToken& next = tokens_[std::min(at_, tokens_.size() - 1)];  // a failure may have stepped past the end
  if (next.type != Type::kNumber || next.text.size() < 2) return next.is(Type::kOpen, "{") ? bracket() : primary();
  MathNode digit = math_number(Rational(next.text[0] - '0'));
  next.text.erase(0, 1);
  return next.text[0] == '.' ? fail() : digit;
}

MathNode MathParser::root() {
  MathNode degree = math_number(2);
  if (take(Type::kOpen, "[")) {
    degree = sum();
    if (!take(Type::kClose, "]")) return fail();
  }
  return math_node(MathKind::kApply, "root", primary(), std::move(degree));
}

/// The text of the next group in braces, or of the next token, without spaces.
std::string MathParser::raw_group() {
  std::string text;
  if (!take(Type::kOpen, "{")) {
    text = token().text;
    if (token().type == Type::kEnd) fail(); else ++at_;
    return text;
  }
  for (int depth = 1; !failed_; ++at_) {
    if (token().type == Type::kEnd) fail();
    if (token().type == Type::kOpen && token().text == "{") ++depth;
    if (token().type == Type::kClose && token().text == "}" && --depth == 0) break;
    text += token().text;
  }
  take(Type::kClose, "}");
  return text;
}

std::string MathParser::subscript() {
  take(Type::kOperator, "_");
  return raw_group();
}

MathNode MathParser::decorated(const std::string& mark) {
  MathNode node = math_node(MathKind::kSymbol, mark + "{" + raw_group() + "}");
  if (at_operator("_")) node.name += "_" + subscript();
  return node;
}

/// \sum_{k=0}^{n} body as sum(body, k, 0, n), \lim_{x \to 0} body as lim(body, x, 0), \int_0^1 body dx as int(body, x, 0, 1); what
/// lacks something as name(body, what stands below, what stands above).
MathNode MathParser::big_operator(const std::string& name) {
  MathNode call = math_node(MathKind::kApply, name, MathNode{});
  std::optional<MathNode> above;
  for (int place = 0; place < 2; ++place) {
    if (take(Type::kOperator, "_")) {
      below_operator(call);
    } else if (take(Type::kOperator, "^")) {
      above = token().is(Type::kOpen, "{") ? bracket() : unary();
    }
  }
  if (above) call.parts.push_back(std::move(*above));
  if (name == "int") return integral(std::move(call));
  call.parts[0] = term();
  const bool over_i = call.parts.size() > 1 && call.parts[1].is(MathKind::kConstant) && call.parts[1].name == "i";
  if (over_i) name_index(call);
  return call;
}

/// i as the index of a sum is no imaginary unit.
void MathParser::name_index(MathNode& node) {
  if (node.is(MathKind::kConstant) && node.name == "i") node.kind = MathKind::kSymbol;
  for (MathNode& part : node.parts) name_index(part);
}

/// What stands below a big operator: k = 1 and x \to 0 are two things.
void MathParser::below_operator(MathNode& call) {
  if (!token().is(Type::kOpen, "{")) {
    call.parts.push_back(argument());
    return;
  }
  ++at_;
  MathNode below = relation();
  if (below.is(MathKind::kRelation) && below.name == "=") {
    call.parts.push_back(std::move(below.parts[0]));
    call.parts.push_back(std::move(below.parts[1]));
  } else {
    call.parts.push_back(std::move(below));
  }
  if (take(Type::kOperator, "to")) call.parts.push_back(sum());
  if (!take(Type::kClose, "}")) fail();
}

/// The sum behind \int up to its dx, which may stand anywhere in it; without one the bounds are all that is known.
MathNode MathParser::integral(MathNode call) {
  Integral here{.brackets = brackets_};
  Integral* outer = std::exchange(integral_, &here);
  call.parts[0] = sum();
  integral_ = outer;
  if (!here.variable.empty()) call.parts.insert(call.parts.begin() + 1, math_node(MathKind::kSymbol, here.variable));
  return call;
}

/// Whether a dx of the integral that we are in stands here.
bool MathParser::at_differential() const {
  return integral_ != nullptr && integral_->variable.empty() && token().is(Type::kSymbol, "d") && token(1).type == Type::kSymbol;
}

/// Whether nothing more belongs to the integral.
bool MathParser::integral_ends() const {
  return integral_ != nullptr && !integral_->variable.empty() && integral_->brackets == brackets_;
}

MathNode MathParser::function() {
  std::string name = token().text;
  ++at_;
  MathNode base;
  if (at_operator("_")) {
    ++at_;
    base = argument();
  }
  MathNode exponent;
  const bool raised_first = take(Type::kOperator, "^");
  if (raised_first) {
    const std::size_t sign = token().is(Type::kOpen, "{") ? 1 : 0;
    const bool inverse = token(sign).is(Type::kOperator, "-") && token(sign + 1).is(Type::kNumber, "1");  // \sin^{-1}
    exponent = token().is(Type::kOpen, "{") ? bracket() : unary();
    if (inverse && (is_trigonometric(name) || is_hyperbolic(name))) name = "arc" + name;
  }
  MathNode call = math_node(MathKind::kApply, name);
  if (token().is(Type::kOpen, "(") || token().is(Type::kOpen, "{")) {
    MathNode inside = bracket();
    if (inside.is(MathKind::kTuple) || inside.is(MathKind::kSet)) {
      call.parts = std::move(inside.parts);
    } else {
      call.parts.push_back(std::move(inside));
    }
  } else {
    call.parts.push_back(function_argument());
  }
  if (name == "exp") call = math_node(MathKind::kPower, "", math_node(MathKind::kConstant, "e"), call.parts[0]);
  if (name == "log") call.parts.push_back(base.is(MathKind::kText) && base.name.empty() ? math_number(10) : std::move(base));
  if (!raised_first || name.starts_with("arc")) return call;
  return math_node(MathKind::kPower, "", std::move(call), std::move(exponent));
}

/// The factors behind a function without parentheses, up to an operator or the next function.
MathNode MathParser::function_argument() {
  const bool negative = take(Type::kOperator, "-");
  MathNode argument = postfix();
  while (!failed_ && at_factor() && token().type != Type::kFunction && !token().is(Type::kOpen, "(")) {
    argument = math_node(MathKind::kProduct, "", std::move(argument), postfix());
  }
  return negative ? math_node(MathKind::kNegate, "", std::move(argument)) : argument;
}

/// The words behind a value with what belongs to them: km/h, cm^2.
MathNode MathParser::unit(MathNode quantity) {
  std::string name;
  while (!failed_) {
    if (token().type == Type::kText) {
      name += symbol().name;
    } else if (at_operator("/") && (token(1).type == Type::kText || token(1).type == Type::kSymbol)) {
      ++at_;
      name += "/" + symbol().name;
    } else if (take(Type::kOperator, "^")) {
      name += "^" + raw_group();
    } else {
      break;
    }
  }
  std::erase_if(name, [](char c) { return c == ' ' || c == '.'; });
  return math_node(MathKind::kQuantity, name, std::move(quantity));
}

}  // namespace troupe
