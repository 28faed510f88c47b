#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "common/model/architecture.h"

namespace troupe {

/// Keys and values of `slots` sequences of up to `max_tokens` tokens each. Keys lie in blocks of 16 positions, position
/// innermost, so that the attention kernel computes 16 keys side by side and a row's bits do not depend on the batch.
/// keys: [layers, slots, kv_heads, max_tokens / 16, head_size, 16], values: [layers, slots, kv_heads, max_tokens, head_size].
struct KvCache {
  KvCache(const Architecture& architecture, std::int64_t slots, std::int64_t max_tokens, at::ScalarType dtype);

  /// Copies the first `tokens` positions of slot `from` to slot `to` in all layers (a group's shared prompt).
  void copy_slot(std::int64_t from, std::int64_t to, std::int64_t tokens);

  std::int64_t slots;
  std::int64_t max_tokens;  // rounded up to a multiple of 16
  at::Tensor keys;
  at::Tensor values;
};

}  // namespace troupe
