#include "common/chat/expression_parser.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "common/base/text.h"
#include "common/chat/filters.h"
#include "common/chat/tests.h"

namespace troupe {
namespace {

constexpr int kMaxDepth = 200;
constexpr std::size_t kMaxArguments = 100;  // filters may take the name of a filter, and so on: this bounds how deep they go
constexpr std::array<std::string_view, 8> kReserved = {"and", "or", "not", "in", "is", "if", "else", "elif"};

bool is_reserved(std::string_view name) { return std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end(); }

}  // namespace

ExpressionPtr ExpressionParser::checked(ExpressionPtr expression) const {
  for (const ExpressionPtr& part : expression->parts) {
    if (part) expression->depth = std::max(expression->depth, part->depth + 1);
  }
  if (expression->depth > kMaxDepth) tokens_.fail("the expression has more than " + std::to_string(kMaxDepth) + " levels", expression->line);
  return expression;
}

template <class... Parts>
ExpressionPtr ExpressionParser::make(Kind kind, int line, std::string text, Parts... parts) const {
  auto expression = std::make_unique<TemplateExpression>();
  expression->kind = kind;
  expression->line = line;
  expression->text = std::move(text);
  (expression->parts.push_back(std::move(parts)), ...);
  return checked(std::move(expression));
}

ExpressionPtr ExpressionParser::parse() {
  const TokenStream::Nesting nesting(tokens_);
  ExpressionPtr value = parse_or();
  while (tokens_.is_name("if")) {
    const int line = tokens_.next().line;
    ExpressionPtr condition = parse_or();
    if (tokens_.skip_name("else")) {
      value = make(Kind::kConditional, line, "", std::move(condition), std::move(value), parse());
    } else {
      value = make(Kind::kConditional, line, "", std::move(condition), std::move(value));
    }
  }
  return value;
}

ExpressionPtr ExpressionParser::parse_tuple(bool conditional) {
  const int line = tokens_.current().line;
  auto tuple = make(Kind::kTuple, line, "");
  bool is_tuple = false;
  while (!tokens_.is(TokenStream::Kind::kPrintEnd) && !tokens_.is(TokenStream::Kind::kBlockEnd) && !tokens_.is_operator(")")) {
    tuple->parts.push_back(conditional ? parse() : parse_or());
    if (!tokens_.skip_operator(",")) break;
    is_tuple = true;
  }
  if (tuple->parts.empty()) tokens_.fail_expecting("an expression");
  return is_tuple ? checked(std::move(tuple)) : std::move(tuple->parts.front());
}

ExpressionPtr ExpressionParser::parse_or() {
  ExpressionPtr left = parse_and();
  while (tokens_.is_name("or")) {
    const int line = tokens_.next().line;
    left = make(Kind::kOr, line, "", std::move(left), parse_and());
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_and() {
  ExpressionPtr left = parse_not();
  while (tokens_.is_name("and")) {
    const int line = tokens_.next().line;
    left = make(Kind::kAnd, line, "", std::move(left), parse_not());
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_not() {
  if (!tokens_.is_name("not")) return parse_compare();
  const TokenStream::Nesting nesting(tokens_);
  const int line = tokens_.next().line;
  return make(Kind::kNot, line, "", parse_not());
}

/// The comparison that stands next, which is left behind; "" where there is none.
std::string ExpressionParser::comparison() {
  for (const char* sign : {"==", "!=", "<", "<=", ">", ">="}) {
    if (tokens_.skip_operator(sign)) return sign;
  }
  if (tokens_.skip_name("in")) return "in";
  const TemplateToken& after = tokens_.peek();
  if (!tokens_.is_name("not") || after.kind != TokenStream::Kind::kName || after.text != "in") return "";
  tokens_.next();
  tokens_.next();
  return "not in";
}

ExpressionPtr ExpressionParser::parse_compare() {
  const int line = tokens_.current().line;
  ExpressionPtr left = parse_sum();
  std::string sign = comparison();
  if (sign.empty()) return left;
  ExpressionPtr compare = make(Kind::kCompare, line, "", std::move(left));
  for (; !sign.empty(); sign = comparison()) {
    compare->names.push_back(sign);
    compare->parts.push_back(parse_sum());
  }
  return checked(std::move(compare));
}

ExpressionPtr ExpressionParser::parse_sum() {
  ExpressionPtr left = parse_concat();
  while (tokens_.is_operator("+") || tokens_.is_operator("-")) {
    const TemplateToken sign = tokens_.next();
    left = make(Kind::kArithmetic, sign.line, sign.text, std::move(left), parse_concat());
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_concat() {
  ExpressionPtr first = parse_product();
  if (!tokens_.is_operator("~")) return first;
  ExpressionPtr concat = make(Kind::kConcat, tokens_.current().line, "", std::move(first));
  while (tokens_.skip_operator("~")) concat->parts.push_back(parse_product());
  return checked(std::move(concat));
}

ExpressionPtr ExpressionParser::parse_product() {
  ExpressionPtr left = parse_power();
  while (tokens_.is_operator("*") || tokens_.is_operator("/") || tokens_.is_operator("//") || tokens_.is_operator("%")) {
    const TemplateToken sign = tokens_.next();
    left = make(Kind::kArithmetic, sign.line, sign.text, std::move(left), parse_power());
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_power() {
  ExpressionPtr left = parse_unary();
  while (tokens_.is_operator("**")) {
    const int line = tokens_.next().line;
    left = make(Kind::kArithmetic, line, "**", std::move(left), parse_unary());
  }
  return left;
}

ExpressionPtr ExpressionParser::parse_unary(bool with_filters) {
  const TokenStream::Nesting nesting(tokens_);
  ExpressionPtr expression;
  if (tokens_.is_operator("-") || tokens_.is_operator("+")) {
    const TemplateToken sign = tokens_.next();
    expression = make(Kind::kSign, sign.line, sign.text, parse_unary(false));
  } else {
    expression = parse_primary();
  }
  expression = parse_postfix(std::move(expression));
  return with_filters ? parse_filters(std::move(expression)) : std::move(expression);
}

ExpressionPtr ExpressionParser::parse_primary() {
  using TokenKind = TokenStream::Kind;
  switch (tokens_.current().kind) {
    case TokenKind::kName: return parse_name();
    case TokenKind::kString: return parse_string();
    case TokenKind::kInteger: case TokenKind::kFloat: return parse_number();
    default: break;
  }
  if (tokens_.is_operator("(")) return parse_parentheses();
  if (tokens_.is_operator("[")) return parse_list();
  if (tokens_.is_operator("{")) return parse_dict();
  tokens_.fail_expecting("an expression");
}

ExpressionPtr ExpressionParser::parse_name() {
  const std::string& name = tokens_.current().text;
  if (is_reserved(name)) tokens_.fail_expecting("an expression");
  const TemplateToken token = tokens_.next();
  ExpressionPtr expression = make(Kind::kConstant, token.line, "");
  if (token.text == "true" || token.text == "True") expression->constant = true;
  else if (token.text == "false" || token.text == "False") expression->constant = false;
  else if (token.text == "none" || token.text == "None") expression->constant = None{};
  else return make(Kind::kName, token.line, token.text);
  return expression;
}

ExpressionPtr ExpressionParser::parse_string() {
  const int line = tokens_.current().line;
  std::string text;
  while (tokens_.is(TokenStream::Kind::kString)) text += tokens_.next().text;
  ExpressionPtr expression = make(Kind::kConstant, line, "");
  expression->constant = std::move(text);
  return expression;
}

ExpressionPtr ExpressionParser::parse_number() {
  const TemplateToken token = tokens_.next();
  ExpressionPtr expression = make(Kind::kConstant, token.line, "");
  if (token.kind == TokenStream::Kind::kFloat) {
    const auto value = parse_double(token.text);
    if (!value) tokens_.fail("expected a number, found " + token.text, token.line);
    expression->constant = *value;
    return expression;
  }
  std::int64_t value = 0;
  const char* const end = token.text.data() + token.text.size();
  const auto result = std::from_chars(token.text.data(), end, value);
  const bool zeros = token.text.size() > 1 && token.text[0] == '0' && value != 0;
  if (result.ec != std::errc() || zeros) tokens_.fail("expected an integer below 2^63 without leading zeros, found " + token.text, token.line);
  expression->constant = value;
  return expression;
}

ExpressionPtr ExpressionParser::parse_parentheses() {
  const int line = tokens_.next().line;
  if (tokens_.skip_operator(")")) return make(Kind::kTuple, line, "");
  ExpressionPtr inside = parse_tuple();
  tokens_.expect_operator(")");
  return inside;
}

ExpressionPtr ExpressionParser::parse_list() {
  ExpressionPtr list = make(Kind::kList, tokens_.next().line, "");
  while (!tokens_.skip_operator("]")) {
    if (!list->parts.empty()) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator("]")) break;
    }
    list->parts.push_back(parse());
  }
  return checked(std::move(list));
}

ExpressionPtr ExpressionParser::parse_dict() {
  ExpressionPtr dict = make(Kind::kDict, tokens_.next().line, "");
  while (!tokens_.skip_operator("}")) {
    if (!dict->parts.empty()) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator("}")) break;
    }
    dict->parts.push_back(parse());
    tokens_.expect_operator(":");
    dict->parts.push_back(parse());
  }
  return checked(std::move(dict));
}

ExpressionPtr ExpressionParser::parse_postfix(ExpressionPtr expression) {
  while (true) {
    if (tokens_.is_operator(".")) {
      expression = parse_attribute(std::move(expression));
    } else if (tokens_.is_operator("[")) {
      expression = parse_subscript(std::move(expression));
    } else if (tokens_.is_operator("(")) {
      expression = make(Kind::kCall, tokens_.current().line, "", std::move(expression));
      parse_arguments(*expression);
      expression = checked(std::move(expression));
    } else {
      return expression;
    }
  }
}

ExpressionPtr ExpressionParser::parse_attribute(ExpressionPtr object) {
  const int line = tokens_.next().line;
  if (tokens_.is(TokenStream::Kind::kInteger)) return make(Kind::kItem, line, "", std::move(object), parse_number());
  std::string name = tokens_.expect_name();
  return make(Kind::kAttribute, line, std::move(name), std::move(object));
}

ExpressionPtr ExpressionParser::parse_subscript(ExpressionPtr object) {
  const int line = tokens_.next().line;
  ExpressionPtr first = tokens_.is_operator(":") ? nullptr : parse();
  if (first && tokens_.skip_operator("]")) return make(Kind::kItem, line, "", std::move(object), std::move(first));
  tokens_.expect_operator(":");
  const auto bound = [&] { return tokens_.is_operator(":") || tokens_.is_operator("]") ? nullptr : parse(); };
  ExpressionPtr last = bound();
  ExpressionPtr step = tokens_.skip_operator(":") ? bound() : nullptr;
  tokens_.expect_operator("]");
  return make(Kind::kSlice, line, "", std::move(object), std::move(first), std::move(last), std::move(step));
}

ExpressionPtr ExpressionParser::parse_filters(ExpressionPtr expression) {
  while (true) {
    if (tokens_.skip_operator("|")) {
      expression = parse_filter(std::move(expression));
    } else if (tokens_.skip_name("is")) {
      expression = parse_test(std::move(expression));
    } else if (tokens_.is_operator("(")) {  // the result of a filter is called
      expression = parse_postfix(std::move(expression));
    } else {
      return expression;
    }
  }
}

ExpressionPtr ExpressionParser::parse_filter(ExpressionPtr value) {
  const int line = tokens_.current().line;
  std::string name = tokens_.expect_name();
  if (!is_filter(name)) tokens_.fail("the filter '" + name + "' is not supported", line);
  ExpressionPtr filter = make(Kind::kFilter, line, std::move(name), std::move(value));
  if (tokens_.is_operator("(")) parse_arguments(*filter);
  return checked(std::move(filter));
}

/// Whether the argument of a test without parentheses stands next.
bool ExpressionParser::starts_argument() const {
  using TokenKind = TokenStream::Kind;
  if (tokens_.is_name("else") || tokens_.is_name("or") || tokens_.is_name("and")) return false;
  return tokens_.is(TokenKind::kName) || tokens_.is(TokenKind::kString) || tokens_.is(TokenKind::kInteger) || tokens_.is(TokenKind::kFloat) ||
         tokens_.is_operator("[") || tokens_.is_operator("{");
}

ExpressionPtr ExpressionParser::parse_test(ExpressionPtr value) {
  const int line = tokens_.current().line;
  const bool negated = tokens_.skip_name("not");
  std::string name = tokens_.expect_name();
  if (!is_test(name)) tokens_.fail("the test '" + name + "' is not supported", line);
  ExpressionPtr test = make(Kind::kTest, line, std::move(name), std::move(value));
  if (tokens_.is_operator("(")) parse_arguments(*test);
  else if (starts_argument()) test->parts.push_back(parse_postfix(parse_primary()));
  test = checked(std::move(test));
  return negated ? make(Kind::kNot, line, "", std::move(test)) : std::move(test);
}

void ExpressionParser::parse_arguments(TemplateExpression& call) {
  tokens_.expect_operator("(");
  for (bool first = true; !tokens_.skip_operator(")"); first = false) {
    if (!first) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator(")")) return;
    }
    if (tokens_.is_operator("*") || tokens_.is_operator("**")) tokens_.fail("arguments from a list or dictionary (* and **) are not supported");
    const TemplateToken& after = tokens_.peek();
    if (tokens_.is(TokenStream::Kind::kName) && after.kind == TokenStream::Kind::kOperator && after.text == "=") {
      call.names.push_back(tokens_.next().text);
      tokens_.next();
    } else if (!call.names.empty()) {
      tokens_.fail("an argument without a name follows one with a name");
    }
    call.parts.push_back(parse());
    if (call.parts.size() > kMaxArguments) tokens_.fail("a call has more than " + std::to_string(kMaxArguments) + " arguments");
  }
}

}  // namespace troupe
