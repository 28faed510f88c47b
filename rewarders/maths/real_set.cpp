#include "rewarders/maths/real_set.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "rewarders/maths/scalar_equality.h"
#include "rewarders/maths/solve.h"

namespace troupe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::size_t kMaxPieces = 200;

MathNode infinity() { return math_node(MathKind::kConstant, "inf"); }
MathNode minus_infinity() { return math_node(MathKind::kNegate, "", infinity()); }

struct End {
  MathNode node;
  double at;
};

std::optional<End> end_of(const MathNode& node, MathMeter& meter) {
  if (node.is(MathKind::kConstant) && node.name == "inf") return End{node, kInfinity};
  if (node.is(MathKind::kNegate)) {
    if (node.parts[0].is(MathKind::kConstant) && node.parts[0].name == "inf") return End{node, -kInfinity};
  }
  const auto value = approximate<double>(node, {}, false, meter);
  if (!value || value->im != 0) return std::nullopt;
  return End{node, value->re};
}

/// -1, 0 or 1 as `a` lies before, at or behind `b`.
int compared(const MathNode& a, double a_at, const MathNode& b, double b_at, MathMeter& meter) {
  if (a_at == b_at && std::isinf(a_at)) return 0;
  const double near = 1e-9 * std::max(1.0, std::max(std::abs(a_at), std::abs(b_at)));
  if (!std::isinf(a_at) && !std::isinf(b_at) && std::abs(a_at - b_at) <= near && same_scalar(a, b, meter)) return 0;
  return a_at < b_at ? -1 : 1;
}

std::optional<RealSet> piece(const MathNode& low, const MathNode& high, bool low_open, bool high_open, MathMeter& meter) {
  if (!meter.spend(4)) return std::nullopt;
  const auto from = end_of(low, meter);
  const auto to = end_of(high, meter);
  if (!from || !to) return std::nullopt;
  const int order = compared(from->node, from->at, to->node, to->at, meter);
  if (order > 0 || (order == 0 && (low_open || high_open))) return RealSet{};
  return RealSet{{from->node, to->node, low_open || std::isinf(from->at), high_open || std::isinf(to->at), from->at, to->at}};
}

RealSet everything() { return {{minus_infinity(), infinity(), true, true, -kInfinity, kInfinity}}; }

/// Sorted, with pieces that overlap or touch made one.
RealSet merged(RealSet pieces, MathMeter& meter) {
  std::sort(pieces.begin(), pieces.end(), [](const RealPiece& a, const RealPiece& b) {
    return a.low_at != b.low_at ? a.low_at < b.low_at : a.low_open < b.low_open;
  });
  RealSet result;
  for (RealPiece& next : pieces) {
    if (!result.empty()) {
      RealPiece& last = result.back();
      const int gap = compared(last.high, last.high_at, next.low, next.low_at, meter);
      if (gap > 0 || (gap == 0 && !(last.high_open && next.low_open))) {
        const int order = compared(next.high, next.high_at, last.high, last.high_at, meter);
        if (order == 0) last.high_open = last.high_open && next.high_open;
        if (order > 0) {
          last.high = std::move(next.high);
          last.high_at = next.high_at;
          last.high_open = next.high_open;
        }
        continue;
      }
    }
    result.push_back(std::move(next));
  }
  return result;
}

RealSet intersection(const RealSet& a, const RealSet& b, MathMeter& meter) {
  RealSet result;
  for (const RealPiece& x : a) {
    for (const RealPiece& y : b) {
      const int lows = compared(x.low, x.low_at, y.low, y.low_at, meter);
      const int highs = compared(x.high, x.high_at, y.high, y.high_at, meter);
      const RealPiece& low = lows >= 0 ? x : y;
      const RealPiece& high = highs <= 0 ? x : y;
      const bool low_open = lows == 0 ? x.low_open || y.low_open : low.low_open;
      const bool high_open = highs == 0 ? x.high_open || y.high_open : high.high_open;
      const auto both = piece(low.low, high.high, low_open, high_open, meter);
      if (both) result.insert(result.end(), both->begin(), both->end());
    }
  }
  return merged(std::move(result), meter);
}

RealSet complement(const RealSet& set) {
  RealSet gaps;
  RealPiece gap = everything().front();
  for (const RealPiece& taken : set) {
    if (taken.low_at != -kInfinity) {
      gap.high = taken.low;
      gap.high_at = taken.low_at;
      gap.high_open = !taken.low_open;
      gaps.push_back(gap);
    }
    gap = {taken.high, infinity(), !taken.high_open, true, taken.high_at, kInfinity};
  }
  if (gap.low_at != kInfinity) gaps.push_back(gap);
  return gaps;
}

std::optional<RealSet> points(const MathNode& node, MathMeter& meter) {
  RealSet all;
  for (const MathNode& element : node.parts) {
    const auto one = element.is(MathKind::kRelation) ? real_set_of(element, meter) : piece(element, element, false, false, meter);
    if (!one || all.size() > kMaxPieces) return std::nullopt;
    all.insert(all.end(), one->begin(), one->end());
  }
  return merged(std::move(all), meter);
}

/// The x for which left `sign` right.
std::optional<RealSet> solutions(const MathNode& left, char sign, const MathNode& right, MathMeter& meter) {
  const auto solved = solved_for_unknown(left, right, meter);
  if (!solved) return std::nullopt;
  const bool less = (sign == '<' || sign == 'l') == solved->growing;
  const bool open = sign == '<' || sign == '>';
  if (sign == '=' || sign == '!') {
    const auto at = piece(solved->root, solved->root, false, false, meter);
    return at && sign == '!' ? std::optional(complement(*at)) : at;
  }
  return less ? piece(minus_infinity(), solved->root, true, open, meter) : piece(solved->root, infinity(), open, true, meter);
}

/// |inside| `sign` limit, as the relations that it is made of.
std::optional<RealSet> absolute_solutions(const MathNode& inside, char sign, const MathNode& limit, MathMeter& meter) {
  const MathNode minus = math_node(MathKind::kNegate, "", limit);
  const char mirrored = sign == '<' ? '>' : sign == '>' ? '<' : sign == 'l' ? 'g' : sign == 'g' ? 'l' : sign;
  const auto above = solutions(inside, sign, limit, meter);
  const auto below = solutions(inside, mirrored, minus, meter);
  if (!above || !below) return std::nullopt;
  if (sign == '<' || sign == 'l' || sign == '!') return intersection(*above, *below, meter);
  RealSet both = *above;
  both.insert(both.end(), below->begin(), below->end());
  return merged(std::move(both), meter);
}

bool is_absolute(const MathNode& node) { return node.is(MathKind::kApply) && node.name == "abs" && !symbols_of(node).empty(); }

std::optional<RealSet> chain_solutions(const MathNode& chain, MathMeter& meter) {
  RealSet all = everything();
  for (std::size_t i = 0; i < chain.name.size(); ++i) {
    const MathNode& left = chain.parts[i];
    const MathNode& right = chain.parts[i + 1];
    const char sign = chain.name[i];
    const char mirrored = sign == '<' ? '>' : sign == '>' ? '<' : sign == 'l' ? 'g' : sign == 'g' ? 'l' : sign;
    const auto one = is_absolute(left)    ? absolute_solutions(left.parts[0], sign, right, meter)
                     : is_absolute(right) ? absolute_solutions(right.parts[0], mirrored, left, meter)
                                          : solutions(left, sign, right, meter);
    if (!one) return std::nullopt;
    all = intersection(all, *one, meter);
  }
  return all;
}

/// A union of any number of sides, each read by `side`.
template <typename Side>
std::optional<RealSet> united(const MathNode& chain, const Side& side, MathMeter& meter) {
  RealSet all;
  std::vector<const MathNode*> left = {&chain};
  while (!left.empty()) {
    const MathNode* node = left.back();
    left.pop_back();
    if (node->is(MathKind::kUnion)) {
      for (const MathNode& part : node->parts) left.push_back(&part);
      continue;
    }
    const auto one = side(*node);
    if (!one || all.size() + one->size() > kMaxPieces) return std::nullopt;
    all.insert(all.end(), one->begin(), one->end());
  }
  return merged(std::move(all), meter);
}

std::optional<RealSet> combined(const MathNode& node, MathMeter& meter) {
  const auto side = [&](const MathNode& part) {  // [0,1] \setminus {0.5}, where a set of one was meant
    return part.is(MathKind::kNumber) || part.is(MathKind::kQuotient) ? piece(part, part, false, false, meter) : real_set_of(part, meter);
  };
  if (node.is(MathKind::kUnion)) return united(node, side, meter);
  auto left = side(node.parts[0]);
  const auto right = side(node.parts[1]);
  if (!left || !right || !meter.spend(static_cast<std::int64_t>(4 * (left->size() + 1) * (right->size() + 1)))) return std::nullopt;
  return node.is(MathKind::kIntersection) ? intersection(*left, *right, meter) : intersection(*left, complement(*right), meter);
}

/// Relations side by side: all of them, or any where they are joined by "or".
std::optional<RealSet> listed(const MathNode& list, MathMeter& meter) {
  const bool relations = std::all_of(list.parts.begin(), list.parts.end(), [](const MathNode& part) {
    return part.is(MathKind::kRelation) && part.name.find('=') == std::string::npos;
  });
  if (!relations || list.name == "or") return points(list, meter);
  RealSet all = everything();
  for (const MathNode& part : list.parts) {
    const auto one = chain_solutions(part, meter);
    if (!one) return std::nullopt;
    all = intersection(all, *one, meter);
  }
  return all;
}

}  // namespace

std::optional<RealSet> real_set_of(const MathNode& node, MathMeter& meter) {
  switch (node.kind) {
    case MathKind::kInterval: return piece(node.parts[0], node.parts[1], node.name[0] == '(', node.name[1] == ')', meter);
    case MathKind::kTuple:
      if (node.parts.size() != 2 || node.name != "(") return std::nullopt;
      return piece(node.parts[0], node.parts[1], true, true, meter);
    case MathKind::kSet: return points(node, meter);
    case MathKind::kList: return listed(node, meter);
    case MathKind::kUnion: case MathKind::kIntersection: case MathKind::kDifference: return combined(node, meter);
    case MathKind::kNumberSet:
      if (node.name == "R") return everything();
      return node.name == "empty" ? std::optional(RealSet{}) : std::nullopt;
    case MathKind::kRelation: return chain_solutions(node, meter);
    default: return std::nullopt;
  }
}

bool same_real_set(const RealSet& gold, const RealSet& given, MathMeter& meter) {
  return std::equal(gold.begin(), gold.end(), given.begin(), given.end(), [&](const RealPiece& a, const RealPiece& b) {
    return a.low_open == b.low_open && a.high_open == b.high_open && same_scalar(a.low, b.low, meter) &&
           same_scalar(a.high, b.high, meter);
  });
}

}  // namespace troupe
