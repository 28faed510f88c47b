#include "rewarders/maths/parser.h"

#include <algorithm>

namespace troupe {
namespace {

constexpr int kMaxNodes = 3000;
constexpr int kMaxDepth = 80;

bool is_whole_literal(const MathNode& node) { return node.is(MathKind::kNumber) && !node.decimal && is_whole(node.number); }

}  // namespace

std::optional<MathNode> parse_math(std::string_view text, const MathReading& reading, bool* ambiguous) {
  MathParser parser(math_tokens(text, reading.commas), reading.tight_products);
  auto tree = parser.whole();
  if (ambiguous != nullptr) *ambiguous = parser.ambiguous();
  return tree;
}

const MathToken& MathParser::token(std::size_t ahead) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }

bool MathParser::take(Type type, std::string_view text) {
  if (!token().is(type, text)) return false;
  ++at_;
  return true;
}

MathNode MathParser::fail() {
  failed_ = true;
  at_ = tokens_.size() - 1;
  return {};
}

std::optional<MathNode> MathParser::whole() {
  Items all = items();
  if (failed_ || token().type != Type::kEnd || all.groups.front().empty()) return std::nullopt;
  return list_of(std::move(all));
}

MathNode MathParser::sum() {
  MathNode left = term();
  while (!failed_ && !integral_ends()) {
    const bool plus = take(Type::kOperator, "+");
    if (plus || take(Type::kOperator, "-")) {
      MathNode right = term();
      if (!plus) right = math_node(MathKind::kNegate, "", std::move(right));
      if (left.is(MathKind::kSum)) {
        left.parts.push_back(std::move(right));
      } else {
        left = math_node(MathKind::kSum, "", std::move(left), std::move(right));
      }
    } else if (at_operator("+-") || at_operator("-+")) {
      const std::string sign = token().text.substr(0, 1);
      ++at_;
      left = math_node(MathKind::kPlusMinus, sign, std::move(left), term());
    } else {
      break;
    }
  }
  return left;
}

MathNode MathParser::term() {
  MathNode left = implicit_factors(unary());
  while (!failed_ && !integral_ends()) {
    if (take(Type::kOperator, "*")) {
      left = math_node(MathKind::kProduct, "", std::move(left), unary());
      left = implicit_factors(std::move(left));
    } else if (at_operator("/") || (at_operator(":") && !in_set_builder_)) {
      ++at_;
      MathNode right = unary();
      if (at_factor()) ambiguous_ = true;
      if (tight_products_) right = implicit_factors(std::move(right));
      left = math_node(MathKind::kQuotient, "", std::move(left), std::move(right));
      left = implicit_factors(std::move(left));
    } else if (take(Type::kOperator, "mod")) {
      left = math_node(MathKind::kApply, "mod", std::move(left), unary());
    } else {
      break;
    }
  }
  return left;
}

bool MathParser::at_factor() const {
  if (integral_ends()) return false;
  const MathToken& next = token();
  switch (next.type) {
    case Type::kNumber: case Type::kSymbol: case Type::kConstant: case Type::kText: case Type::kFunction: return true;
    case Type::kOpen: return next.text != "\\{";
    case Type::kCommand: return next.text != "end";
    case Type::kOperator: return next.text == "|" && bars_ == 0 && !in_set_builder_;
    default: return false;
  }
}

/// \frac{1}{2} of whole literals, as in the mixed number 3\frac{1}{2}.
bool MathParser::at_plain_fraction() const {
  if (!token().is(Type::kCommand, "frac")) return false;
  if (token(1).type == Type::kNumber) return true;
  return token(1).is(Type::kOpen, "{") && token(2).type == Type::kNumber && token(3).is(Type::kClose, "}") &&
         (token(4).type == Type::kNumber ||
          (token(4).is(Type::kOpen, "{") && token(5).type == Type::kNumber && token(6).is(Type::kClose, "}")));
}

MathNode MathParser::implicit_factors(MathNode left) {
  while (!failed_ && at_factor()) {
    const bool mixed = is_whole_literal(left) && at_plain_fraction();
    if (token().type == Type::kNumber && left.is(MathKind::kNumber)) return fail();  // "1 2" is no product
    if (mixed) {  // what follows, as a unit, is of the whole number
      left = with_postfix(math_node(MathKind::kSum, "", std::move(left), primary()));
      continue;
    }
    MathNode right = postfix();
    if (left.is(MathKind::kProduct)) {
      left.parts.push_back(std::move(right));
    } else {
      left = math_node(MathKind::kProduct, "", std::move(left), std::move(right));
    }
  }
  return left;
}

MathNode MathParser::unary() {
  if (++depth_ > kMaxDepth) return fail();
  MathNode node;
  if (take(Type::kOperator, "-")) {
    // The sign of -3\frac{1}{2} belongs to the whole mixed number.
    node = math_node(MathKind::kNegate, "", implicit_factors(unary()));
  } else if (take(Type::kOperator, "+")) {
    node = unary();
  } else if (at_operator("+-") || at_operator("-+")) {
    const std::string sign = token().text.substr(0, 1);
    ++at_;
    node = math_node(MathKind::kPlusMinus, sign, math_number(0), implicit_factors(unary()));
  } else {
    node = postfix();
  }
  --depth_;
  return node;
}

MathNode MathParser::postfix() { return with_postfix(primary()); }

/// The node with what stands behind it: powers, !, %, degrees, units.
MathNode MathParser::with_postfix(MathNode node) {
  while (!failed_) {
    if (take(Type::kOperator, "!")) {
      node = math_node(MathKind::kApply, "factorial", std::move(node));
    } else if (take(Type::kOperator, "%")) {
      node = math_node(MathKind::kPercent, "", std::move(node));
    } else if (take(Type::kOperator, "deg")) {
      node = math_node(MathKind::kDegrees, "", std::move(node));
    } else if (at_one_sided()) {
      at_ += token(1).is(Type::kOpen, "{") ? 4 : 2;
    } else if (take(Type::kOperator, "^")) {
      node = raised(std::move(node));
      const bool index_behind = at_operator("_") && node.is(MathKind::kPower) && node.parts[0].is(MathKind::kSymbol);
      if (index_behind) node.parts[0].name += "_" + subscript();  // x^2_1
      const bool scale = node.is(MathKind::kDegrees) && (token().is(Type::kSymbol, "C") || token().is(Type::kSymbol, "F"));
      if (scale) ++at_;  // 20^\circ C
    } else if (token().type == Type::kText && node.is(MathKind::kText)) {
      node.name += " " + symbol().name;
    } else if (token().type == Type::kText) {
      node = unit(std::move(node));
    } else {
      break;
    }
  }
  return node;
}

/// The ^+ of 0^+, where a limit is of one side.
bool MathParser::at_one_sided() const {
  const std::size_t brace = token(1).is(Type::kOpen, "{") ? 1 : 0;
  const bool sign = token(1 + brace).is(Type::kOperator, "+") || token(1 + brace).is(Type::kOperator, "-");
  return at_operator("^") && sign && token(2 + brace).is(Type::kClose, "}");
}

MathNode MathParser::raised(MathNode base) {
  const bool in_braces = token().is(Type::kOpen, "{") && token(1).is(Type::kOperator, "deg") && token(2).is(Type::kClose, "}");
  if (in_braces || at_operator("deg")) {
    at_ += in_braces ? 3 : 1;
    return math_node(MathKind::kDegrees, "", std::move(base));
  }
  if (++depth_ > kMaxDepth) return fail();
  const bool negative = take(Type::kOperator, "-");
  if (!negative) take(Type::kOperator, "+");
  MathNode exponent = primary();
  if (take(Type::kOperator, "^")) exponent = raised(std::move(exponent));
  if (negative) exponent = math_node(MathKind::kNegate, "", std::move(exponent));
  --depth_;
  return math_node(MathKind::kPower, "", std::move(base), std::move(exponent));
}

MathNode MathParser::primary() {
  if (++nodes_ > kMaxNodes) return fail();
  if (at_differential()) {
    integral_->variable = token(1).text;
    at_ += 2;
    return math_number(1);
  }
  switch (token().type) {
    case Type::kNumber: return number();
    case Type::kText: case Type::kSymbol: case Type::kConstant: return symbol();
    case Type::kFunction: return function();
    case Type::kCommand: return command();
    case Type::kOpen: return bracket();
    default: return at_operator("|") ? absolute() : fail();
  }
}

MathNode MathParser::number() {
  const std::string& text = token().text;
  const auto value = decimal_value(text);
  if (!value) return fail();
  nodes_ += static_cast<int>(bits_of(*value) / 256);  // 1e999 is a large thing in few bytes
  MathNode node = math_number(*value);
  const std::size_t point = text.find('.');
  node.decimal = point != std::string::npos && text.find('(') == std::string::npos;
  if (node.decimal) node.places = static_cast<int>(std::min(text.find_first_of("eE"), text.size()) - point - 1);
  const bool raised = at_ > 0 && tokens_[at_ - 1].is(Type::kOperator, "^");  // x^2_1: the index is of x
  ++at_;
  if (at_operator("_") && !raised) {
    const auto base = decimal_value(subscript());
    return base ? math_node(MathKind::kBased, "", std::move(node), math_number(*base)) : node;
  }
  const bool mixed = is_whole_literal(node) && token().type == Type::kNumber && token().after_space &&
                     token(1).is(Type::kOperator, "/") && token(2).type == Type::kNumber;
  if (!mixed) return node;
  const auto top = decimal_value(token().text);  // 1 1/2
  const auto bottom = decimal_value(token(2).text);
  if (!top || !bottom || *bottom == 0) return fail();
  at_ += 3;
  return math_number(node.number + *top / *bottom);
}

MathNode MathParser::symbol() {
  const MathToken& first = token();
  const MathKind kind = first.type == Type::kText       ? MathKind::kText
                        : first.type == Type::kConstant ? MathKind::kConstant
                                                        : MathKind::kSymbol;
  MathNode node = math_node(kind, first.text);
  if (kind == MathKind::kText) {
    for (char& c : node.name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  ++at_;
  if (at_operator("_")) {
    node.name += "_" + subscript();
    if (node.is(MathKind::kConstant)) node.kind = MathKind::kSymbol;
  }
  while (take(Type::kOperator, "'")) node.name += "'";
  const bool named_function = node.is(MathKind::kSymbol) && node.name.find_first_not_of("fghFGH'") == std::string::npos;
  if (named_function && at_operator("^")) {
    if (auto power = power_of_function(node)) return std::move(*power);
  }
  const std::size_t brace = token().is(Type::kOpen, "{") ? 1 : 0;  // f{\left(x\right)}
  if (!node.is(MathKind::kSymbol) || !token(brace).is(Type::kOpen, "(") || token().after_space) return node;
  const bool of_a_letter = token(brace + 1).type == Type::kSymbol && token(brace + 2).is(Type::kClose, ")");
  if (!named_function && !of_a_letter) return node;
  return call_of(node.name);
}

/// The function applied to the bracket that follows.
MathNode MathParser::call_of(const std::string& name) {
  MathNode inside = bracket();
  MathNode call = math_node(MathKind::kApply, name);
  if (inside.is(MathKind::kTuple)) {
    call.parts = std::move(inside.parts);
  } else {
    call.parts.push_back(std::move(inside));
  }
  return call;
}

/// f^2(x), which is (f(x))^2, and f^{-1}(x), which is a function of its own; nothing where no bracket follows the exponent.
std::optional<MathNode> MathParser::power_of_function(const MathNode& name) {
  const std::size_t brace = token(1).is(Type::kOpen, "{") ? 1 : 0;
  const bool negative = token(1 + brace).is(Type::kOperator, "-");
  const std::size_t digits = 1 + brace + (negative ? 1 : 0);
  const bool closed = brace == 0 || token(digits + 1).is(Type::kClose, "}");
  if (token(digits).type != Type::kNumber || !closed || !token(digits + 1 + brace).is(Type::kOpen, "(")) return std::nullopt;
  const auto exponent = decimal_value(token(digits).text);
  if (!exponent) return std::nullopt;
  at_ += digits + 1 + brace;
  if (negative) return call_of(name.name + "^-" + tokens_[at_ - 1 - brace].text);
  return math_node(MathKind::kPower, "", call_of(name.name), math_number(*exponent));
}

MathNode MathParser::absolute() {
  ++at_;
  ++bars_;
  MathNode inside = sum();
  --bars_;
  if (!take(Type::kOperator, "|")) return fail();
  const bool matrix = inside.is(MathKind::kMatrix);
  return math_node(MathKind::kApply, matrix ? "det" : "abs", std::move(inside));
}

}  // namespace troupe
