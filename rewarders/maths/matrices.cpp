#include "rewarders/maths/matrices.h"

#include <algorithm>
#include <optional>

namespace troupe {
namespace {

constexpr std::size_t kMaxCells = 100;
constexpr std::size_t kMaxNodes = 10'000;  // cells of a product hold copies of both factors' cells: AAAAAAAA would fill the memory

std::size_t rows_of(const MathNode& matrix) { return matrix.parts.size() / static_cast<std::size_t>(matrix.columns); }

/// Whether the product of the two stays within kMaxNodes.
bool small_product(const MathNode& a, const MathNode& b) {
  const bool matrices = a.is(MathKind::kMatrix) && b.is(MathKind::kMatrix);
  const std::size_t of_a = matrices ? static_cast<std::size_t>(b.columns) : b.is(MathKind::kMatrix) ? b.parts.size() : 1;
  const std::size_t of_b = matrices ? rows_of(a) : a.is(MathKind::kMatrix) ? a.parts.size() : 1;
  return math_size(a) * of_a + math_size(b) * of_b <= kMaxNodes;
}

/// The matrix with each cell put through `change`.
template <typename Change>
MathNode mapped(MathNode matrix, const Change& change) {
  for (MathNode& cell : matrix.parts) cell = change(std::move(cell));
  return matrix;
}

MathNode negated(MathNode matrix) {
  return mapped(std::move(matrix), [](MathNode cell) { return math_node(MathKind::kNegate, "", std::move(cell)); });
}

std::optional<MathNode> added(MathNode a, const MathNode& b) {
  if (!a.is(MathKind::kMatrix) || !b.is(MathKind::kMatrix) || a.columns != b.columns || a.parts.size() != b.parts.size()) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < a.parts.size(); ++i) a.parts[i] = math_node(MathKind::kSum, "", std::move(a.parts[i]), b.parts[i]);
  return a;
}

std::optional<MathNode> multiplied(MathNode a, MathNode b) {
  if (!small_product(a, b)) return std::nullopt;
  if (!a.is(MathKind::kMatrix)) std::swap(a, b);
  if (!a.is(MathKind::kMatrix)) return math_node(MathKind::kProduct, "", std::move(a), std::move(b));
  if (!b.is(MathKind::kMatrix)) {
    return mapped(std::move(a), [&](MathNode cell) { return math_node(MathKind::kProduct, "", b, std::move(cell)); });
  }
  const auto shared = static_cast<std::size_t>(a.columns);
  if (shared != rows_of(b)) return std::nullopt;
  const auto columns = static_cast<std::size_t>(b.columns);
  MathNode product = math_node(MathKind::kMatrix, "");
  product.columns = b.columns;
  for (std::size_t row = 0; row < rows_of(a); ++row) {
    for (std::size_t column = 0; column < columns; ++column) {
      MathNode sum = math_node(MathKind::kSum, "");
      for (std::size_t k = 0; k < shared; ++k) {
        sum.parts.push_back(math_node(MathKind::kProduct, "", a.parts[row * shared + k], b.parts[k * columns + column]));
      }
      product.parts.push_back(std::move(sum));
    }
  }
  return product;
}

MathNode transposed(const MathNode& matrix) {
  MathNode result = math_node(MathKind::kMatrix, "");
  const auto columns = static_cast<std::size_t>(matrix.columns);
  result.columns = static_cast<int>(rows_of(matrix));
  for (std::size_t column = 0; column < columns; ++column) {
    for (std::size_t row = 0; row < rows_of(matrix); ++row) result.parts.push_back(matrix.parts[row * columns + column]);
  }
  return result;
}

std::optional<MathNode> folded(const MathNode& node) {
  if (node.is(MathKind::kNegate)) return negated(node.parts[0]);
  if (node.is(MathKind::kQuotient) && node.parts[0].is(MathKind::kMatrix) && !node.parts[1].is(MathKind::kMatrix)) {
    if (!small_product(node.parts[0], node.parts[1])) return std::nullopt;
    return mapped(node.parts[0], [&](MathNode cell) { return math_node(MathKind::kQuotient, "", std::move(cell), node.parts[1]); });
  }
  if (node.is(MathKind::kPower) && node.parts[0].is(MathKind::kMatrix)) {
    const bool transpose = node.parts[1].is(MathKind::kSymbol) && (node.parts[1].name == "T" || node.parts[1].name == "\\top");
    return transpose ? std::optional(transposed(node.parts[0])) : std::nullopt;
  }
  if (!node.is(MathKind::kSum) && !node.is(MathKind::kProduct)) return std::nullopt;
  std::optional<MathNode> total = node.parts[0];
  for (std::size_t i = 1; total && i < node.parts.size(); ++i) {
    total = node.is(MathKind::kSum) ? added(std::move(*total), node.parts[i]) : multiplied(std::move(*total), node.parts[i]);
  }
  return total;
}

}  // namespace

MathNode with_matrices_folded(MathNode node) {
  for (MathNode& part : node.parts) part = with_matrices_folded(std::move(part));
  const bool above_matrix = std::any_of(node.parts.begin(), node.parts.end(), [](const MathNode& part) {
    return part.is(MathKind::kMatrix) && part.parts.size() <= kMaxCells;
  });
  if (!above_matrix) return node;
  auto result = folded(node);
  return result ? std::move(*result) : std::move(node);
}

const std::vector<MathNode>* vector_elements(const MathNode& node) {
  if (node.is(MathKind::kTuple) || (node.is(MathKind::kInterval) && node.name == "[]")) return &node.parts;
  if (!node.is(MathKind::kMatrix)) return nullptr;
  return node.columns == 1 || node.parts.size() == static_cast<std::size_t>(node.columns) ? &node.parts : nullptr;
}

}  // namespace troupe
