#include "rewarders/maths/evaluate.h"

#include <algorithm>

#include "rewarders/maths/calculus.h"

namespace troupe {
namespace {

namespace mp = boost::multiprecision;

class ExactEvaluator {
 public:
  using Result = std::optional<Rational>;

  ExactEvaluator(const MathPoint& point, MathMeter& meter) : point_(point), meter_(meter) {}

  Result value(const MathNode& node) {
    switch (node.kind) {
      case MathKind::kNumber: return node.number;
      case MathKind::kSymbol: case MathKind::kText: {
        const Rational* bound = point_.find(node.name);
        return bound == nullptr ? std::nullopt : Result(*bound);
      }
      case MathKind::kNegate: {
        const Result inside = value(node.parts[0]);
        return inside && meter_.affords(*inside, *inside) ? Result(exact_negative(*inside)) : std::nullopt;
      }
      case MathKind::kSum: case MathKind::kProduct: return folded(node);
      case MathKind::kQuotient: return quotient(node);
      case MathKind::kPower: return power(node.parts[0], node.parts[1]);
      case MathKind::kPercent: {
        Result inside = value(node.parts[0]);
        if (inside) *inside /= 100;
        return inside;
      }
      case MathKind::kDegrees: case MathKind::kQuantity: case MathKind::kBased: return value(node.parts[0]);
      case MathKind::kApply: return applied(node);
      default: return std::nullopt;
    }
  }

 private:
  Result folded(const MathNode& node) {
    const bool sum = node.is(MathKind::kSum);
    Rational total = sum ? 0 : 1;
    for (const MathNode& part : node.parts) {
      const Result next = value(part);
      if (!next || !meter_.affords(total, *next)) return std::nullopt;
      total = sum ? exact_sum(total, *next) : exact_product(total, *next);
    }
    return total;
  }

  Result quotient(const MathNode& node) {
    const Result bottom = value(node.parts[1]);
    if (!bottom) return std::nullopt;
    if (*bottom == 0) {
      meter_.meet_undefined();
      return std::nullopt;
    }
    const Result top = value(node.parts[0]);
    if (!top || !meter_.spend(4) || !meter_.affords_divisor(*top, *bottom)) return std::nullopt;
    return Rational(*top / *bottom);
  }

  Result power(const MathNode& base_node, const MathNode& exponent_node) {
    const Result exponent = value(exponent_node);
    if (!exponent) return std::nullopt;
    const Result base = value(base_node);
    return base ? exact_power(*base, *exponent, false, meter_) : std::nullopt;
  }

  Result applied(const MathNode& node) {
    if (node.name == "abs" || node.name == "floor" || node.name == "ceil") {
      const Result inside = node.parts.size() == 1 ? value(node.parts[0]) : std::nullopt;
      if (!inside) return std::nullopt;
      if (node.name == "abs") return Rational(mp::abs(*inside));
      return node.name == "floor" ? Rational(floor_of(*inside)) : Rational(Integer(-floor_of(exact_negative(*inside))));
    }
    if (node.name == "factorial") {
      const Result n = value(node.parts[0]);
      return n ? exact_factorial(*n, meter_) : std::nullopt;
    }
    if (math_index(node) != nullptr && node.parts.size() == 4) return over_index(node);
    static const std::vector<std::string> kOfMany = {"root", "binom", "gcd", "lcm", "max", "min", "mod"};
    if (std::find(kOfMany.begin(), kOfMany.end(), node.name) == kOfMany.end() || node.parts.empty()) return std::nullopt;
    Result total = value(node.parts[0]);
    for (std::size_t i = 1; total && i < node.parts.size(); ++i) {
      const Result next = value(node.parts[i]);
      total = next && meter_.affords(*total, *next) ? combined(node.name, *total, *next) : std::nullopt;
    }
    return total;
  }

  /// A sum over whole bounds, or the integral of a polynomial.
  Result over_index(const MathNode& node) {
    if (node.name != "sum" && node.name != "int") return std::nullopt;
    const Result low = value(node.parts[2]);
    const Result high = low ? value(node.parts[3]) : std::nullopt;
    if (!high || (node.name == "sum" && (!is_whole(*low) || !is_whole(*high)))) return std::nullopt;
    const auto body = [&](const Rational& index) -> Result {
      if (!meter_.spend(2)) return std::nullopt;
      MathPoint inner = point_;
      inner.values.insert(inner.values.begin(), {node.parts[1].name, index});
      return ExactEvaluator(inner, meter_).value(node.parts[0]);
    };
    return node.name == "sum" ? exact_series(body, *low, *high, meter_) : exact_integral(body, *low, *high, meter_);
  }

  Result combined(const std::string& name, const Rational& a, const Rational& b) {
    if (name == "max") return std::max(a, b);
    if (name == "min") return std::min(a, b);
    if (name == "binom") return exact_binomial(a, b, meter_);
    if (name == "root") return b == 0 ? std::nullopt : exact_power(a, 1 / b, true, meter_);
    if (!meter_.affords_divisor(a, b)) return std::nullopt;
    if (name == "mod") {
      if (b == 0) meter_.meet_undefined();
      return b == 0 ? std::nullopt : Result(a - b * Rational(floor_of(a / b)));
    }
    // of fractions over their common denominator: gcd(0.9, 0.6) is 0.3
    const Integer common = mp::gcd(mp::numerator(a) * mp::denominator(b), mp::numerator(b) * mp::denominator(a));
    const Rational divisor(common, mp::denominator(a) * mp::denominator(b));
    if (name == "gcd" || common == 0) return divisor;
    return Rational(mp::abs(a / divisor * b));
  }

  const MathPoint& point_;
  MathMeter& meter_;
};

}  // namespace

const Rational* MathPoint::find(const std::string& name) const {
  for (const auto& [symbol, value] : values) {
    if (symbol == name) return &value;
  }
  return nullptr;
}

std::optional<Rational> exact_value(const MathNode& node, const MathPoint& point, MathMeter& meter) {
  return ExactEvaluator(point, meter).value(node);
}

}  // namespace troupe
