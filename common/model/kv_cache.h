#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "common/model/architecture.h"
#include "common/model/kernels/kernels.h"

namespace troupe {

/// Pages that hold `tokens` positions.
inline std::int64_t pages_of(std::int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

/// Keys and values of many sequences, in pages that any sequence may use. Keys lie in blocks of 16 positions, position
/// innermost, so that the attention kernel computes 16 keys side by side.
/// keys: [layers, pages, kv_heads, kPageTokens / 16, head_size, 16], values: [layers, pages, kv_heads, kPageTokens, head_size].
/// On a GPU keys lie as values do.
struct KvCache {
  /// On the CPU memory is taken from the system when a page is first written.
  KvCache(const Architecture& architecture, std::int64_t pages, at::ScalarType dtype, at::Device device = at::kCPU);

  /// Bytes of one page, keys and values of all layers.
  static std::int64_t page_bytes(const Architecture& architecture, at::ScalarType dtype);

  std::int64_t pages;
  at::Tensor keys;
  at::Tensor values;
};

/// Consecutive tokens of one sequence among the rows of a forward, and where that sequence's keys and values lie: those of the
/// positions before shared_tokens in `shared_pages`, which other sequences read too, the others in `pages`. Both are filled from
/// their first position on, so a shared prefix of any length is held once.
struct CachedRun {
  std::int64_t first_position = 0;  // of the tokens, at least shared_tokens
  std::int64_t tokens = 0;
  std::int64_t shared_tokens = 0;
  std::span<const std::int32_t> shared_pages;
  std::span<const std::int32_t> pages;
};

}  // namespace troupe
