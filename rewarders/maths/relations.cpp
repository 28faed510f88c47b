#include <algorithm>

#include "rewarders/maths/comparison.h"
#include "rewarders/maths/real_set.h"
#include "rewarders/maths/scalar_equality.h"

namespace troupe {
namespace {

MathNode difference(const MathNode& a, const MathNode& b) {
  return math_node(MathKind::kSum, "", a, math_node(MathKind::kNegate, "", b));
}

char turned(char sign) { return sign == '<' ? '>' : sign == '>' ? '<' : sign == 'l' ? 'g' : sign == 'g' ? 'l' : sign; }

/// The chain read from the other end where it points down: 3 > x > 1 is 1 < x < 3.
MathNode upwards(MathNode chain) {
  if (chain.name[0] != '>' && chain.name[0] != 'g') return chain;
  std::reverse(chain.parts.begin(), chain.parts.end());
  std::reverse(chain.name.begin(), chain.name.end());
  for (char& sign : chain.name) sign = turned(sign);
  return chain;
}

MathNode renamed(const MathNode& node, const std::string& from, const std::string& to) {
  MathNode copy = node;
  if (copy.is(MathKind::kSymbol) && copy.name == from) copy.name = to;
  for (MathNode& part : copy.parts) part = renamed(part, from, to);
  return copy;
}

/// The relations of two sides that a chain, or a list of chains, is made of; empty for anything else.
std::vector<MathNode> links_of(const MathNode& node) {
  std::vector<MathNode> links;
  if (node.is(MathKind::kRelation)) {
    for (std::size_t i = 0; i < node.name.size(); ++i) {
      links.push_back(math_node(MathKind::kRelation, node.name.substr(i, 1), node.parts[i], node.parts[i + 1]));
    }
  } else if (node.is(MathKind::kList)) {
    for (const MathNode& part : node.parts) {
      if (!part.is(MathKind::kRelation)) return {};
      for (MathNode& link : links_of(part)) links.push_back(std::move(link));
    }
  }
  return links;
}

/// f(x) = … for a single symbol x.
bool defines_function(const MathNode& name) {
  return name.is(MathKind::kApply) && name.parts.size() == 1 && name.parts[0].is(MathKind::kSymbol);
}

}  // namespace

bool is_name(const MathNode& node) {
  if (node.is(MathKind::kSymbol) || node.is(MathKind::kText)) return true;
  return !node.parts.empty() && !node.is(MathKind::kRelation) && std::all_of(node.parts.begin(), node.parts.end(), is_name);
}

bool is_equation(const MathNode& node) {
  return node.is(MathKind::kRelation) && node.name.find_first_not_of('=') == std::string::npos;
}

bool is_assignment(const MathNode& node) {
  // 1 = y = x = 0 names its last side as well.
  return is_equation(node) && std::any_of(node.parts.begin(), node.parts.end() - 1, is_name);
}

bool is_condition(const MathNode& node) {
  if (node.is(MathKind::kRelation)) return !is_equation(node);
  return node.is(MathKind::kList) && std::all_of(node.parts.begin(), node.parts.end(), is_condition);
}

/// a = b = c and a = b, b = c; 1 < x < y and 1 < x, x < y.
bool MathComparison::same_links(const MathNode& gold, const MathNode& given) {
  const std::vector<MathNode> gold_links = links_of(gold);
  const std::vector<MathNode> given_links = links_of(given);
  return gold_links.size() > 1 && gold_links.size() == given_links.size() && same_in_any_order(gold_links, given_links);
}

bool MathComparison::same_assignment(const MathNode& gold, const MathNode& given) {
  const MathNode& gold_name = gold.parts.front();
  const MathNode& given_name = given.parts.front();
  if (defines_function(gold_name) && defines_function(given_name) && gold_name.name == given_name.name) {
    const std::string& argument = gold_name.parts[0].name;
    return same(gold.parts.back(), renamed(given.parts.back(), given_name.parts[0].name, argument));
  }
  // y = 2x + 3 says what f(x) = 2x + 3 says.
  const bool function_and_letter = (defines_function(gold_name) && given_name.is(MathKind::kSymbol)) ||
                                   (defines_function(given_name) && gold_name.is(MathKind::kSymbol));
  return (function_and_letter || same(gold_name, given_name)) && same(gold.parts.back(), given.parts.back());
}

/// One sign of each chain with its two sides.
bool MathComparison::same_link(const MathNode& gold, std::size_t gold_at, const MathNode& given, std::size_t given_at) {
  const char gold_sign = gold.name[gold_at];
  const char given_sign = given.name[given_at];
  const bool equation = gold_sign == '=' || gold_sign == '!';
  if (gold_sign != given_sign && turned(gold_sign) != given_sign) return false;
  const Proportion found = proportion_of(difference(gold.parts[gold_at], gold.parts[gold_at + 1]),
                                         difference(given.parts[given_at], given.parts[given_at + 1]), meter_);
  if (equation) return found != Proportion::kNone;
  return found == (gold_sign == given_sign ? Proportion::kPositive : Proportion::kNegative);
}

bool MathComparison::same_relation(const MathNode& gold_chain, const MathNode& given_chain) {
  if (is_assignment(gold_chain) && is_assignment(given_chain)) {
    if (same_assignment(gold_chain, given_chain)) return true;
    if (gold_chain.name.size() > 1 || given_chain.name.size() > 1) return false;
  }
  const MathNode gold = upwards(gold_chain);
  const MathNode given = upwards(given_chain);
  if (gold.name.size() != given.name.size()) return same_as_sets(gold, given);
  if (gold.name == given.name && same_in_order(gold.parts, given.parts)) return true;  // also \cos\pi = -1, which has no other side
  for (std::size_t i = 0; i < gold.name.size(); ++i) {
    if (!same_link(gold, i, given, i)) return !is_equation(gold) && same_as_sets(gold, given);
  }
  return true;
}

}  // namespace troupe
