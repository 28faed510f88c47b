#include "common/model/kv_cache.h"

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/kernels/kernels.h"

namespace troupe {

KvCache::KvCache(const Architecture& a, std::int64_t page_count, at::ScalarType dtype, at::Device device) : pages(page_count) {
  static_assert(kPageTokens % kKeyBlock == 0);
  check(pages > 0, "a cache has pages");
  const at::TensorOptions options = at::TensorOptions(dtype).device(device);
  keys = at::empty({a.layers, pages, a.kv_heads, kPageTokens / kKeyBlock, a.head_size, kKeyBlock}, options);
  values = at::empty({a.layers, pages, a.kv_heads, kPageTokens, a.head_size}, options);
}

std::int64_t KvCache::page_bytes(const Architecture& a, at::ScalarType dtype) {
  return 2 * a.layers * a.kv_heads * kPageTokens * a.head_size * static_cast<std::int64_t>(c10::elementSize(dtype));
}

}  // namespace troupe
