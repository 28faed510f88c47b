#include "rewarders/maths/solve.h"

#include <cmath>

#include "rewarders/maths/scalar_equality.h"

namespace troupe {
namespace {

MathNode with_value(const MathNode& node, const std::string& name, const Rational& value) {
  if (node.is(MathKind::kSymbol) && node.name == name) return math_number(value);
  MathNode copy = node;
  for (MathNode& part : copy.parts) part = with_value(part, name, value);
  return copy;
}

/// f(x) as a symbol of its own.
MathNode with_calls_as_symbols(const MathNode& node) {
  const bool call =
      node.is(MathKind::kApply) && node.name.size() == 1 && node.parts.size() == 1 && node.parts[0].is(MathKind::kSymbol);
  if (call) return math_node(MathKind::kSymbol, node.name + "(" + node.parts[0].name + ")");
  MathNode copy = node;
  for (MathNode& part : copy.parts) part = with_calls_as_symbols(part);
  return copy;
}

}  // namespace

std::optional<LinearRoot> solved_for_unknown(const MathNode& left, const MathNode& right, MathMeter& meter) {
  const MathNode difference =
      math_node(MathKind::kSum, "", with_calls_as_symbols(left), math_node(MathKind::kNegate, "", with_calls_as_symbols(right)));
  const auto names = symbols_of(difference);
  if (names.size() != 1 || !meter.spend(40)) return std::nullopt;
  const MathNode at_zero = with_value(difference, names[0], 0);
  const MathNode slope =
      math_node(MathKind::kSum, "", with_value(difference, names[0], 1), math_node(MathKind::kNegate, "", at_zero));
  const auto value = approximate<double>(slope, {}, false, meter);
  if (!value || std::abs(value->re) <= 64 * value->error) return std::nullopt;
  const MathNode line =
      math_node(MathKind::kSum, "", math_node(MathKind::kProduct, "", slope, math_node(MathKind::kSymbol, names[0])), at_zero);
  if (!same_scalar(difference, line, meter)) return std::nullopt;
  MathNode root = math_node(MathKind::kQuotient, "", math_node(MathKind::kNegate, "", at_zero), slope);
  // x < oo and the like have no end that can be divided
  const auto is_infinite = [](const MathNode& part) { return part.is(MathKind::kConstant) && part.name == "inf"; };
  if (math_contains(root, is_infinite)) return std::nullopt;
  return LinearRoot{std::move(root), value->re > 0};
}

}  // namespace troupe
