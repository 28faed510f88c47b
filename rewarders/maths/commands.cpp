#include <algorithm>

#include "rewarders/maths/parser.h"

namespace troupe {

MathNode MathParser::command() {
  const std::string name = token().text;
  ++at_;
  if (name == "frac") {
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

/// \sum_{k=0}^{n} body as sum(body, k, 0, n); the others as name(body, what stands below, what stands above).
MathNode MathParser::big_operator(const std::string& name) {
  MathNode call = math_node(MathKind::kApply, name, MathNode{});
  std::optional<MathNode> above;
  for (int place = 0; place < 2; ++place) {
    if (take(Type::kOperator, "_")) {
      if (!token().is(Type::kOpen, "{")) {
        call.parts.push_back(argument());
        continue;
      }
      ++at_;
      MathNode below = relation();
      if (take(Type::kOperator, "to")) below = math_node(MathKind::kTuple, "(", std::move(below), sum());
      if (!take(Type::kClose, "}")) return fail();
      if (below.is(MathKind::kRelation) && below.name == "=") {
        call.parts.push_back(below.parts[0]);
        call.parts.push_back(below.parts[1]);
      } else {
        call.parts.push_back(std::move(below));
      }
    } else if (take(Type::kOperator, "^")) {
      above = token().is(Type::kOpen, "{") ? bracket() : unary();
    }
  }
  if (above) call.parts.push_back(std::move(*above));
  call.parts[0] = term();
  return call;
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
