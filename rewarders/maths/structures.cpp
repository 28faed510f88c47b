#include <algorithm>

#include "rewarders/maths/parser.h"

namespace troupe {
namespace {

bool contains_plus_minus(const MathNode& node) {
  return math_contains(node, [](const MathNode& part) { return part.is(MathKind::kPlusMinus); });
}

/// Replaces each ± by the sign and each ∓ by its opposite.
void resolve_plus_minus(MathNode& node, bool upper) {
  for (MathNode& part : node.parts) resolve_plus_minus(part, upper);
  if (!node.is(MathKind::kPlusMinus)) return;
  const bool plus = (node.name == "+") == upper;
  if (!plus) node.parts[1] = math_node(MathKind::kNegate, "", std::move(node.parts[1]));
  node.kind = MathKind::kSum;
  node.name.clear();
}

/// The character that stands for a relation sign in a node's name, or 0.
char relation_sign(std::string_view text) {
  if (text == "<=") return 'l';
  if (text == ">=") return 'g';
  if (text == "!=") return '!';
  if (text == "in") return '=';  // x in S says the same as x = S
  if (text == "<" || text == ">" || text == "=" || text == "~") return text[0];
  return 0;
}

bool only_symbols(const MathNode& node) {
  if (node.is(MathKind::kSymbol) || node.is(MathKind::kText)) return true;
  return !node.parts.empty() && std::all_of(node.parts.begin(), node.parts.end(), only_symbols);
}

}  // namespace

std::vector<MathNode> without_plus_minus(MathNode node) {
  if (!contains_plus_minus(node)) return {std::move(node)};
  std::vector<MathNode> both = {node, std::move(node)};
  resolve_plus_minus(both[0], true);
  resolve_plus_minus(both[1], false);
  return both;
}

bool MathParser::take_separator(Items& items) {
  if (take(Type::kOperator, ";")) {
    if (!items.groups.back().empty()) items.groups.emplace_back();
    return true;
  }
  for (const char* word : {"and", "or"}) {
    if (!take(Type::kOperator, word)) continue;
    items.separator = word;
    return true;
  }
  return take(Type::kOperator, ",");
}

MathParser::Items MathParser::items() {
  Items all;
  all.groups.emplace_back();
  while (!failed_) {
    while (take_separator(all)) {
    }
    if (token().type == Type::kEnd || token().type == Type::kClose) break;
    all.groups.back().push_back(relation());
    const Type next = token().type;
    if (next != Type::kEnd && next != Type::kClose && !take_separator(all)) break;
  }
  if (all.groups.size() > 1 && all.groups.back().empty()) all.groups.pop_back();
  return all;
}

/// The one element, or a list; with semicolons and commas a list of tuples.
MathNode MathParser::list_of(Items items) {
  MathNode list = math_node(MathKind::kList, items.separator);
  const bool tuples =
      items.groups.size() > 1 && std::any_of(items.groups.begin(), items.groups.end(), [](const Group& g) { return g.size() > 1; });
  for (Group& group : items.groups) {
    if (tuples) {
      MathNode tuple = math_node(MathKind::kTuple, "(");
      tuple.parts = std::move(group);
      list.parts.push_back(std::move(tuple));
      continue;
    }
    for (MathNode& element : group) {
      for (MathNode& plain : without_plus_minus(std::move(element))) list.parts.push_back(std::move(plain));
    }
  }
  if (list.parts.size() != 1) return list;
  MathNode only = std::move(list.parts.front());
  return only;
}

MathNode MathParser::relation() {
  if (++nodes_ > 3000) return fail();
  MathNode first = set_expression();
  MathNode chain = math_node(MathKind::kRelation, "");
  bool approximate = false;  // what stands behind an approximation sign says nothing new
  while (!failed_ && token().type == Type::kOperator) {
    const char sign = relation_sign(token().text);
    if (sign == 0) break;
    ++at_;
    MathNode next = set_expression();
    approximate = approximate || (sign == '~' && !(chain.name.empty() && only_symbols(first)));
    if (approximate) continue;
    chain.name += sign == '~' ? '=' : sign;
    chain.parts.push_back(std::move(next));
  }
  if (chain.name.empty()) return first;
  chain.parts.insert(chain.parts.begin(), std::move(first));
  return chain;
}

MathNode MathParser::set_expression() {
  MathNode left = sum();
  while (!failed_ && token().type == Type::kOperator) {
    const std::string& name = token().text;
    const bool choose = name == "choose";
    const MathKind kind = name == "cup"        ? MathKind::kUnion
                          : name == "cap"      ? MathKind::kIntersection
                          : name == "setminus" ? MathKind::kDifference
                                               : MathKind::kApply;
    if (kind == MathKind::kApply && !choose) break;
    ++at_;
    left = math_node(kind, choose ? "binom" : "", std::move(left), sum());
  }
  return left;
}

MathNode MathParser::bracket() {
  const std::string open = token().text;
  ++at_;
  if (open == "\\{") return set("\\}");
  ++brackets_;
  const int bars = std::exchange(bars_, 0);
  const bool builder = std::exchange(in_set_builder_, false);
  Items inside = items();
  bars_ = bars;
  in_set_builder_ = builder;
  --brackets_;
  return failed_ ? MathNode{} : parentheses(open, std::move(inside));
}

MathNode MathParser::parentheses(const std::string& open, Items items) {
  const std::string close = token().text;
  if (token().type != Type::kClose) return fail();
  ++at_;
  Group all;
  for (Group& group : items.groups) {
    for (MathNode& element : group) all.push_back(std::move(element));
  }
  const bool round_or_square = (open == "(" || open == "[") && (close == ")" || close == "]");
  const bool matching = (open == "{" && close == "}") || (open == "<" && close == ">") || (open == "lfloor" && close == "rfloor") ||
                        (open == "lceil" && close == "rceil");
  if (!round_or_square && !matching) return fail();
  if (all.size() == 1 && open[0] != 'l' && (!round_or_square || (open == "(") == (close == ")"))) return std::move(all[0]);
  MathNode node = math_node(MathKind::kTuple, open);
  node.parts = std::move(all);
  if (open[0] == 'l') {
    if (node.parts.size() != 1) return fail();
    node.kind = MathKind::kApply;
    node.name = open == "lfloor" ? "floor" : "ceil";
  } else if (open == "{") {
    if (node.parts.empty()) return math_node(MathKind::kProduct, "");
    node.kind = MathKind::kSet;
  } else if (round_or_square && !(open == "(" && close == ")")) {
    if (node.parts.size() == 2) {
      node.kind = MathKind::kInterval;
      node.name = open + close;
    } else if (open != "[" || close != "]") {
      return fail();
    }
  }
  return node.parts.empty() ? fail() : node;
}

/// Braces: elements, or an expression with a condition behind a bar or colon, which says as much as the condition alone.
MathNode MathParser::set(const std::string& close) {
  const int bars = std::exchange(bars_, 0);
  const bool builder = std::exchange(in_set_builder_, true);
  Items inside = items();
  in_set_builder_ = builder;
  bars_ = bars;
  const bool condition = at_operator("|") || at_operator(":");
  if (condition) {
    ++at_;
    inside = items();
  }
  if (!take(Type::kClose, close)) return fail();
  if (condition) return list_of(std::move(inside));
  MathNode elements = math_node(MathKind::kSet, "");
  for (Group& group : inside.groups) {
    for (MathNode& element : group) {
      for (MathNode& plain : without_plus_minus(std::move(element))) elements.parts.push_back(std::move(plain));
    }
  }
  return elements.parts.empty() ? math_node(MathKind::kNumberSet, "empty") : elements;
}

MathNode MathParser::environment() {
  std::string name = raw_group();
  if (name == "array") raw_group();  // its columns
  std::erase(name, '*');
  if (++depth_ > 20) return fail();
  MathNode cells = matrix(name);
  --depth_;
  if (name == "vmatrix") return math_node(MathKind::kApply, "det", std::move(cells));
  if (name == "cases") {
    cells.kind = MathKind::kApply;
    cells.name = "cases";
  }
  return cells;
}

MathNode MathParser::matrix(const std::string& name) {
  MathNode cells = math_node(MathKind::kMatrix, "");
  int column = 0;
  while (!failed_) {
    if (take(Type::kCommand, "end")) {
      std::string end = raw_group();
      std::erase(end, '*');
      return end == name && column == 0 && !cells.parts.empty() ? cells : fail();
    }
    cells.parts.push_back(relation());
    ++column;
    if (take(Type::kOperator, "&")) continue;
    if (!take(Type::kOperator, "\\\\") && !token().is(Type::kCommand, "end")) return fail();
    if (cells.columns != 0 && cells.columns != column && name != "cases") return fail();
    cells.columns = column;
    column = 0;
  }
  return {};
}

}  // namespace troupe
