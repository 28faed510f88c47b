#pragma once

#include "rewarders/maths/node.h"

namespace troupe {

/// The tree with sums, products, multiples and transposes of matrices worked out into one matrix of expressions each. What does
/// not fit together stays.
MathNode with_matrices_folded(MathNode node);

/// The elements of a row or column, of a tuple or of [a, b], which beside a matrix is a vector; nothing for anything else.
const std::vector<MathNode>* vector_elements(const MathNode& node);

}  // namespace troupe
