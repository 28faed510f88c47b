#pragma once

#include <string>
#include <vector>

#include "rewarders/maths/equivalence.h"
#include "rewarders/maths/node.h"

namespace troupe {

/// The rules by kind of answer, for one pair of trees. A failed comparison means different or undecided.
class MathComparison {
 public:
  MathComparison(const EquivalenceOptions& options, MathMeter& meter) : options_(options), meter_(meter) {}

  bool same(const MathNode& gold, const MathNode& given);

 private:
  // comparison.cpp
  bool same_quantity(const MathNode& gold, const MathNode& given);
  bool same_text(const std::string& gold, const std::string& given) const;
  bool same_antiderivative(const MathNode& gold, const MathNode& given);
  bool same_value(const MathNode& gold, const MathNode& given);
  bool same_matrix(const MathNode& gold, const MathNode& given);

  // collections.cpp
  bool same_collection(const MathNode& gold, const MathNode& given);
  bool same_in_order(const std::vector<MathNode>& gold, const std::vector<MathNode>& given);
  bool same_in_any_order(const std::vector<MathNode>& gold, const std::vector<MathNode>& given);
  bool same_as_sets(const MathNode& gold, const MathNode& given);

  // relations.cpp
  bool same_relation(const MathNode& gold, const MathNode& given);
  bool same_links(const MathNode& gold, const MathNode& given);
  bool same_assignment(const MathNode& gold, const MathNode& given);
  bool same_link(const MathNode& gold, std::size_t gold_at, const MathNode& given, std::size_t given_at);

  const EquivalenceOptions& options_;
  MathMeter& meter_;
};

/// Whether the node is made of symbols alone, so that "node = value" names the value.
bool is_name(const MathNode& node);
/// A chain of = and nothing else.
bool is_equation(const MathNode& node);
/// An equation whose first side is a name.
bool is_assignment(const MathNode& node);
/// A list, set, tuple, interval or what is made of sets.
bool is_collection(const MathNode& node);
/// An inequality or several.
bool is_condition(const MathNode& node);

}  // namespace troupe
