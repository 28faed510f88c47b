#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "common/model/transformer.h"

// N rows that are used, of all texts, one text after the other; T rows that the model computes; H hidden.

namespace troupe {

/// A text, of which the rows of the tokens from `first` on are used. Borrows the ids.
struct TextRows {
  std::span<const std::int32_t> ids;
  std::int64_t first = 0;
};

/// Texts packed for a forward pass, and which rows of it are used.
struct PackedRows {
  PackedSequences sequences;
  at::Tensor rows_N;    // int64: which of the T rows each used one is
  bool shared = false;  // whether texts share any

  /// dL/d(each of the T rows), [T, H], given that of the used ones: 0 for the others, and for a row that several texts share the sum,
  /// taken in fp32 in the order of the texts.
  at::Tensor gradient(const at::Tensor& grad_NH) const;
};

/// Packs texts with at least one used row each. With `share`, neighbours that are equal up to `first` read that much once, as a sequence
/// that they go on behind; the rows have the same bits. rows_N lies on `device`.
PackedRows pack_rows(std::span<const TextRows> texts, bool share, at::Device device);

}  // namespace troupe
