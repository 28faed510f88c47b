#include "common/model/kv_cache.h"

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/kernels/kernels.h"

namespace troupe {

KvCache::KvCache(const Architecture& a, std::int64_t slot_count, std::int64_t tokens, at::ScalarType dtype)
    : slots(slot_count), max_tokens((tokens + kKeyBlock - 1) / kKeyBlock * kKeyBlock) {
  check(slots > 0 && max_tokens > 0, "a cache has slots and tokens");
  const std::int64_t blocks = max_tokens / kKeyBlock;
  keys = at::zeros({a.layers, slots, a.kv_heads, blocks, a.head_size, kKeyBlock}, dtype);
  values = at::zeros({a.layers, slots, a.kv_heads, max_tokens, a.head_size}, dtype);
}

void KvCache::copy_slot(std::int64_t from, std::int64_t to, std::int64_t tokens) {
  check(from >= 0 && from < slots && to >= 0 && to < slots, "copy_slot names slots of the cache");
  check(tokens >= 0 && tokens <= max_tokens, "copy_slot copies at most max_tokens positions");
  if (from == to || tokens == 0) return;
  const std::int64_t blocks = (tokens + kKeyBlock - 1) / kKeyBlock;
  keys.select(1, to).narrow(2, 0, blocks).copy_(keys.select(1, from).narrow(2, 0, blocks));
  values.select(1, to).narrow(2, 0, tokens).copy_(values.select(1, from).narrow(2, 0, tokens));
}

}  // namespace troupe
