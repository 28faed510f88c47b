#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "rewarders/maths/lexer.h"
#include "rewarders/maths/node.h"

namespace troupe {

/// How an ambiguous text is read.
struct MathReading {
  bool tight_products = false;  // 1/2x is 1/(2x), not (1/2)x
  MathCommas commas = MathCommas::kGroup;

  bool operator==(const MathReading&) const = default;
};

/// The tree of an answer, or nothing where it is not mathematics that we understand, over 3,000 nodes or over 80 deep.
/// A ± has become a list of both. `ambiguous` (may be null) receives whether tight products would be read otherwise.
std::optional<MathNode> parse_math(std::string_view text, const MathReading& reading, bool* ambiguous);

/// Recursive descent over the tokens. Once anything fails, every function returns an empty node at once.
class MathParser {
 public:
  MathParser(std::vector<MathToken> tokens, bool tight_products) : tokens_(std::move(tokens)), tight_products_(tight_products) {}

  std::optional<MathNode> whole();
  bool ambiguous() const { return ambiguous_; }

 private:
  using Type = MathTokenType;
  using Group = std::vector<MathNode>;
  struct Items {
    std::vector<Group> groups;  // between semicolons
    std::string separator = ",";
  };

  struct Integral {
    std::string variable = {};  // once its dx has been read
    int brackets = 0;           // that were open where it began
  };

  const MathToken& token(std::size_t ahead = 0) const;
  bool at_operator(std::string_view name) const { return token().is(Type::kOperator, name); }
  bool take(Type type, std::string_view text);
  MathNode fail();

  // structures.cpp: lists, brackets, relations and sets, matrices
  Items items();
  bool take_separator(Items& items);
  MathNode list_of(Items items);
  MathNode relation();
  MathNode set_expression();
  MathNode bracket();
  MathNode parentheses(const std::string& open, Items items);
  MathNode set(const std::string& close);
  MathNode environment();
  MathNode matrix(const std::string& name);

  // parser.cpp: scalars
  MathNode sum();
  MathNode term();
  MathNode implicit_factors(MathNode left);
  MathNode unary();
  MathNode postfix();
  MathNode with_postfix(MathNode node);
  MathNode raised(MathNode base);
  bool at_one_sided() const;
  MathNode primary();
  MathNode number();
  MathNode symbol();
  MathNode call_of(const std::string& name);
  std::optional<MathNode> power_of_function(const MathNode& name);
  MathNode absolute();
  bool at_factor() const;
  bool at_plain_fraction() const;

  // commands.cpp: what takes braces, and functions
  MathNode command();
  MathNode argument();
  MathNode root();
  MathNode decorated(const std::string& mark);
  MathNode big_operator(const std::string& name);
  void below_operator(MathNode& call);
  static void name_index(MathNode& node);
  MathNode integral(MathNode call);
  bool at_differential() const;
  bool integral_ends() const;
  int at_derivative() const;
  MathNode derivative(int order);
  MathNode function();
  MathNode function_argument();
  MathNode unit(MathNode quantity);
  std::string subscript();
  std::string raw_group();

  std::vector<MathToken> tokens_;
  bool tight_products_;
  bool ambiguous_ = false;
  bool failed_ = false;
  bool in_set_builder_ = false;
  std::size_t at_ = 0;
  int depth_ = 0;
  int nodes_ = 0;
  int bars_ = 0;
  int brackets_ = 0;
  Integral* integral_ = nullptr;  // the innermost that we are in
};

/// The node without ±: itself, or the two that it stands for.
std::vector<MathNode> without_plus_minus(MathNode node);

}  // namespace troupe
