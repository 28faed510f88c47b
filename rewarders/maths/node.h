#pragma once

#include <string>
#include <utility>
#include <vector>

#include "rewarders/maths/exact.h"

namespace troupe {

/// What a node of an answer's tree is; `parts` are its operands in the order of writing.
enum class MathKind {
  kNumber,        // number; `decimal` with `places` digits behind the point where it was written so
  kConstant,      // name: pi, e, i, inf
  kSymbol,        // name: x, x_1, \alpha, \vec{v}
  kText,          // name: words, lower case, as \text{} or a word of four letters or more
  kNegate,        // 1 part
  kSum,           // any
  kProduct,       // any
  kQuotient,      // 2
  kPower,         // base, exponent
  kApply,         // name: a function; its arguments
  kPlusMinus,     // name + (±) or - (∓); 2
  kPercent,       // 1
  kDegrees,       // 1
  kBased,         // the digits as a number, the base
  kQuantity,      // 1; name: the unit as written, without spaces
  kTuple,         // name: the opening bracket, ( < or [
  kList,          // name: "," or "or", "and" where those stood between; written without brackets, so without an order
  kSet,           // braces
  kInterval,      // name: its brackets, "[)" ; lower end, upper end
  kUnion,         // 2 each
  kIntersection,  //
  kDifference,    //
  kNumberSet,     // name: R, Z, Q, N, C, or empty
  kMatrix,        // row by row, `columns` a row
  kRelation,      // name: one character an operator of < > l (<=) g (>=) = ! ; one part more than that
};

struct MathNode {
  MathKind kind = MathKind::kText;
  std::string name;
  std::vector<MathNode> parts;
  Rational number;
  bool decimal = false;
  int places = 0;
  int columns = 0;

  bool is(MathKind wanted) const { return kind == wanted; }
};

template <typename... Parts>
MathNode math_node(MathKind kind, std::string name, Parts&&... parts) {
  MathNode node;
  node.kind = kind;
  node.name = std::move(name);
  node.parts.reserve(sizeof...(parts));
  (node.parts.push_back(std::forward<Parts>(parts)), ...);
  return node;
}

inline MathNode math_number(Rational value) {
  MathNode node;
  node.kind = MathKind::kNumber;
  node.number = std::move(value);
  return node;
}

/// +1 or -1 for an infinite constant, else 0.
inline int math_infinity(const MathNode& node) {
  if (node.is(MathKind::kConstant)) return node.name == "inf" ? 1 : 0;
  return node.is(MathKind::kNegate) ? -math_infinity(node.parts[0]) : 0;
}

/// The nodes of the tree.
inline std::size_t math_size(const MathNode& node) {
  std::size_t count = 1;
  for (const MathNode& part : node.parts) count += math_size(part);
  return count;
}

/// The symbol that a sum, product, integral or limit runs over; null for anything else.
inline const std::string* math_index(const MathNode& node) {
  const std::string& name = node.name;
  const bool big = name == "sum" || name == "prod" || name == "int" || name == "lim";
  const bool indexed = big && node.is(MathKind::kApply) && node.parts.size() > 1 && node.parts[1].is(MathKind::kSymbol);
  return indexed ? &node.parts[1].name : nullptr;
}

/// Whether a node of the tree is one for which `wanted` holds.
template <typename Predicate>
bool math_contains(const MathNode& node, const Predicate& wanted) {
  if (wanted(node)) return true;
  for (const MathNode& part : node.parts) {
    if (math_contains(part, wanted)) return true;
  }
  return false;
}

}  // namespace troupe
