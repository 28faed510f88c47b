#include <algorithm>

#include "rewarders/maths/comparison.h"
#include "rewarders/maths/matrices.h"
#include "rewarders/maths/real_set.h"
#include "rewarders/maths/scalar_equality.h"

namespace troupe {
namespace {

constexpr std::size_t kMaxElements = 400;

bool has_elements(const MathNode& node) { return node.is(MathKind::kTuple) || node.is(MathKind::kList) || node.is(MathKind::kSet); }

bool of_sets(const MathNode& node) {
  return node.is(MathKind::kInterval) || node.is(MathKind::kUnion) || node.is(MathKind::kIntersection) ||
         node.is(MathKind::kDifference) || node.is(MathKind::kNumberSet);
}

/// The sides of a chain of unions or intersections.
void flatten(const MathNode& node, MathKind kind, std::vector<MathNode>& sides) {
  if (!node.is(kind)) return sides.push_back(node);
  for (const MathNode& part : node.parts) flatten(part, kind, sides);
}

}  // namespace

bool is_collection(const MathNode& node) { return has_elements(node) || of_sets(node); }

bool MathComparison::same_in_order(const std::vector<MathNode>& gold, const std::vector<MathNode>& given) {
  return std::equal(gold.begin(), gold.end(), given.begin(), given.end(),
                    [&](const MathNode& a, const MathNode& b) { return same(a, b); });
}

bool MathComparison::same_in_any_order(const std::vector<MathNode>& gold, const std::vector<MathNode>& given) {
  std::vector<bool> met(given.size());  // what a gold was found in needs no search of its own
  for (const MathNode& wanted : gold) {
    std::size_t at = 0;
    while (at < given.size() && !same(wanted, given[at])) ++at;
    if (at == given.size()) return false;
    met[at] = true;
  }
  for (std::size_t i = 0; i < given.size(); ++i) {
    const auto meets = [&](const MathNode& wanted) { return same(wanted, given[i]); };
    if (!met[i] && std::none_of(gold.begin(), gold.end(), meets)) return false;
  }
  return true;
}

bool MathComparison::same_as_sets(const MathNode& gold, const MathNode& given) {
  const auto gold_names = symbols_of(gold);
  const auto given_names = symbols_of(given);
  if (!gold_names.empty() && !given_names.empty() && gold_names != given_names) return false;
  const auto gold_set = real_set_of(gold, meter_);
  if (!gold_set) return false;
  const auto given_set = real_set_of(given, meter_);
  return given_set && same_real_set(*gold_set, *given_set, meter_);
}

bool MathComparison::same_collection(const MathNode& gold, const MathNode& given) {
  if (has_elements(gold) && has_elements(given)) {
    if (gold.parts.size() > kMaxElements || given.parts.size() > kMaxElements) return false;
    const bool tuples = gold.is(MathKind::kTuple) && given.is(MathKind::kTuple);
    // (1, 3) may be answered by {1, 3}, but not by {3, 1}; 1, 3 and {1, 3} by any order.
    if (tuples || gold.is(MathKind::kTuple)) return same_in_order(gold.parts, given.parts);
    if (options_.ordered_lists && gold.is(MathKind::kList)) return same_in_order(gold.parts, given.parts);
    return same_in_any_order(gold.parts, given.parts);
  }
  if (gold.is(MathKind::kInterval) && given.is(MathKind::kInterval)) {
    return gold.name == given.name && same_in_order(gold.parts, given.parts);
  }
  if (gold.is(MathKind::kNumberSet) && given.is(MathKind::kNumberSet)) return gold.name == given.name;
  for (const auto& [whole, other] : {std::pair(&gold, &given), std::pair(&given, &gold)}) {
    if (whole->is(MathKind::kSet) && whole->parts.size() == 1 && !is_collection(*other)) {
      return whole == &gold ? same(whole->parts[0], given) : same(gold, whole->parts[0]);
    }
  }
  if (const auto* elements = vector_elements(gold); elements != nullptr && given.is(MathKind::kMatrix)) {
    const auto* others = vector_elements(given);
    return others != nullptr && same_in_order(*elements, *others);
  }
  if (const auto* elements = vector_elements(given); elements != nullptr && gold.is(MathKind::kMatrix)) {
    const auto* others = vector_elements(gold);
    return others != nullptr && same_in_order(*others, *elements);
  }
  if (!is_collection(gold) || !is_collection(given)) return false;
  if (same_as_sets(gold, given)) return true;
  if (gold.kind != given.kind || gold.is(MathKind::kDifference)) {
    return gold.is(MathKind::kDifference) && given.is(MathKind::kDifference) && same_in_order(gold.parts, given.parts);
  }
  std::vector<MathNode> gold_sides;
  std::vector<MathNode> given_sides;
  flatten(gold, gold.kind, gold_sides);
  flatten(given, given.kind, given_sides);
  return gold_sides.size() > 1 && same_in_any_order(gold_sides, given_sides);
}

}  // namespace troupe
