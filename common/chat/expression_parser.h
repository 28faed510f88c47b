#pragma once

#include "common/chat/syntax.h"
#include "common/chat/token_stream.h"

namespace troupe {

/// Parses expressions by Jinja2's grammar and precedence. Filters and tests that are not supported are refused here.
/// @throws ConfigError naming the line.
class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  /// a if b else c, and all that binds more tightly.
  ExpressionPtr parse();
  /// One expression, or several with commas between them: a tuple. `conditional` false leaves an `if` to the caller.
  ExpressionPtr parse_tuple(bool conditional = true);

 private:
  using Kind = TemplateExpression::Kind;

  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_compare();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concat();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filters = true);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_name();
  ExpressionPtr parse_string();
  ExpressionPtr parse_number();
  ExpressionPtr parse_parentheses();
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  ExpressionPtr parse_postfix(ExpressionPtr expression);
  ExpressionPtr parse_attribute(ExpressionPtr object);
  ExpressionPtr parse_subscript(ExpressionPtr object);
  ExpressionPtr parse_filters(ExpressionPtr expression);
  ExpressionPtr parse_filter(ExpressionPtr value);
  ExpressionPtr parse_test(ExpressionPtr value);
  void parse_arguments(TemplateExpression& call);
  std::string comparison();
  bool starts_argument() const;

  /// Gives `expression` its depth. @throws ConfigError where that is too deep.
  ExpressionPtr checked(ExpressionPtr expression) const;
  template <class... Parts>
  ExpressionPtr make(Kind kind, int line, std::string text, Parts... parts) const;

  TokenStream& tokens_;
};

}  // namespace troupe
