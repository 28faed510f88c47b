#pragma once

#include <optional>
#include <string>

#include "rewarders/maths/node.h"

namespace troupe {

/// The derivative of an expression by a symbol, not simplified. Nothing for what has none that we know (an unknown function of the
/// symbol, a floor, a sum) and over some thousand nodes.
std::optional<MathNode> derivative_of(const MathNode& node, const std::string& symbol);

/// The tree with every \frac{d}{dx} in it worked out; what has no known derivative stays.
MathNode with_derivatives(MathNode node);

}  // namespace troupe
