#include "rewarders/maths/derivative.h"

#include <utility>

namespace troupe {
namespace {

constexpr int kMaxNodes = 3000;  // a derivative of a derivative … doubles each time

MathNode sum_of(MathNode a, MathNode b) { return math_node(MathKind::kSum, "", std::move(a), std::move(b)); }
MathNode product_of(MathNode a, MathNode b) { return math_node(MathKind::kProduct, "", std::move(a), std::move(b)); }
MathNode quotient_of(MathNode a, MathNode b) { return math_node(MathKind::kQuotient, "", std::move(a), std::move(b)); }
MathNode power_of(MathNode a, MathNode b) { return math_node(MathKind::kPower, "", std::move(a), std::move(b)); }
MathNode negated(MathNode a) { return math_node(MathKind::kNegate, "", std::move(a)); }
MathNode call_of(const char* name, MathNode a) { return math_node(MathKind::kApply, name, std::move(a)); }
MathNode squared(MathNode a) { return power_of(std::move(a), math_number(2)); }
MathNode one_and(MathNode a) { return sum_of(math_number(1), std::move(a)); }

class Differentiator {
 public:
  using Result = std::optional<MathNode>;

  explicit Differentiator(const std::string& symbol) : symbol_(symbol) {}

  Result of(const MathNode& node) {
    if (constant(node)) return math_number(0);
    switch (node.kind) {
      case MathKind::kSymbol: return math_number(1);
      case MathKind::kNegate: {
        Result inside = of(node.parts[0]);
        return inside ? Result(negated(std::move(*inside))) : std::nullopt;
      }
      case MathKind::kSum: return of_sum(node);
      case MathKind::kProduct: return of_product(node);
      case MathKind::kQuotient: return of_quotient(node.parts[0], node.parts[1]);
      case MathKind::kPower: return of_power(node.parts[0], node.parts[1]);
      case MathKind::kApply: return of_call(node);
      default: return std::nullopt;
    }
  }

 private:
  bool constant(const MathNode& node) const {
    return !math_contains(node, [&](const MathNode& part) { return part.is(MathKind::kSymbol) && part.name == symbol_; });
  }

  /// Whether this may be copied once more.
  bool affords(const MathNode& node) { return (left_ -= static_cast<int>(math_size(node))) >= 0; }

  Result of_sum(const MathNode& node) {
    MathNode total = math_node(MathKind::kSum, "");
    for (const MathNode& part : node.parts) {
      Result inside = of(part);
      if (!inside) return std::nullopt;
      total.parts.push_back(std::move(*inside));
    }
    return total;
  }

  Result of_product(const MathNode& node) {
    MathNode total = math_node(MathKind::kSum, "");
    for (std::size_t i = 0; i < node.parts.size(); ++i) {
      if (constant(node.parts[i])) continue;
      Result inside = affords(node) ? of(node.parts[i]) : std::nullopt;
      if (!inside) return std::nullopt;
      MathNode term = node;
      term.parts[i] = std::move(*inside);
      total.parts.push_back(std::move(term));
    }
    return total;
  }

  Result of_quotient(const MathNode& top, const MathNode& bottom) {
    Result top_slope = of(top);
    Result bottom_slope = of(bottom);
    if (!top_slope || !bottom_slope || !affords(top) || !affords(bottom) || !affords(bottom)) return std::nullopt;
    MathNode difference = sum_of(product_of(std::move(*top_slope), bottom), negated(product_of(top, std::move(*bottom_slope))));
    return quotient_of(std::move(difference), squared(bottom));
  }

  Result of_power(const MathNode& base, const MathNode& exponent) {
    if (!affords(base) || !affords(base) || !affords(exponent) || !affords(exponent)) return std::nullopt;
    if (constant(exponent)) {
      Result slope = of(base);
      if (!slope) return std::nullopt;
      MathNode lower = power_of(base, sum_of(exponent, math_number(-1)));
      return product_of(product_of(exponent, std::move(lower)), std::move(*slope));
    }
    const bool natural = base.is(MathKind::kConstant) && base.name == "e";
    Result slope = of(natural ? exponent : product_of(exponent, call_of("ln", base)));
    return slope ? Result(product_of(power_of(base, exponent), std::move(*slope))) : std::nullopt;
  }

  /// By the chain rule.
  Result of_call(const MathNode& node) {
    const bool root = node.name == "root" && node.parts.size() == 2 && constant(node.parts[1]);
    if (root) return of_power(node.parts[0], quotient_of(math_number(1), node.parts[1]));
    if (node.name == "log" && node.parts.size() == 2) {
      return of(quotient_of(call_of("ln", node.parts[0]), call_of("ln", node.parts[1])));
    }
    if (node.parts.size() != 1 || !affords(node) || !affords(node)) return std::nullopt;
    Result outer = outer_slope(node.name, node.parts[0]);
    Result inner = outer ? of(node.parts[0]) : std::nullopt;
    return inner ? Result(product_of(std::move(*outer), std::move(*inner))) : std::nullopt;
  }

  static Result outer_slope(const std::string& name, const MathNode& u) {
    if (name == "sin") return call_of("cos", u);
    if (name == "cos") return negated(call_of("sin", u));
    if (name == "tan") return squared(call_of("sec", u));
    if (name == "cot") return negated(squared(call_of("csc", u)));
    if (name == "sec") return product_of(call_of("sec", u), call_of("tan", u));
    if (name == "csc") return negated(product_of(call_of("csc", u), call_of("cot", u)));
    if (name == "ln") return quotient_of(math_number(1), u);
    if (name == "abs") return quotient_of(u, call_of("abs", u));
    if (name == "arctan") return quotient_of(math_number(1), one_and(squared(u)));
    if (name == "arccot") return negated(quotient_of(math_number(1), one_and(squared(u))));
    if (name == "sinh") return call_of("cosh", u);
    if (name == "cosh") return call_of("sinh", u);
    if (name == "tanh") return squared(call_of("sech", u));
    if (name != "arcsin" && name != "arccos") return std::nullopt;
    MathNode slope = power_of(one_and(negated(squared(u))), math_number(Rational(-1, 2)));
    return name == "arcsin" ? slope : negated(std::move(slope));
  }

  const std::string& symbol_;
  int left_ = kMaxNodes;
};

}  // namespace

std::optional<MathNode> derivative_of(const MathNode& node, const std::string& symbol) { return Differentiator(symbol).of(node); }

MathNode with_derivatives(MathNode node) {
  for (MathNode& part : node.parts) part = with_derivatives(std::move(part));
  if (!node.is(MathKind::kApply) || node.name != "diff") return node;
  auto slope = derivative_of(node.parts[0], node.parts[1].name);
  return slope ? std::move(*slope) : std::move(node);
}

}  // namespace troupe
