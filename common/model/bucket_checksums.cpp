#include "common/model/bucket_checksums.h"

#include <algorithm>
#include <cstddef>
#include <span>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include "common/base/error.h"
#include "common/base/word_checksum.h"

namespace troupe {

std::vector<std::uint64_t> bucket_checksums(const at::Tensor& values, std::uint64_t bucket_bytes) {
  check(values.is_contiguous() && bucket_bytes > 0, "buckets are of contiguous values");
  const std::uint64_t bytes = values.nbytes();
  std::vector<std::uint64_t> sums((bytes + bucket_bytes - 1) / bucket_bytes);
  if (values.is_cuda()) {
    const at::Tensor host = cuda::bucket_checksums(values, bucket_bytes).cpu();
    std::copy_n(reinterpret_cast<const std::uint64_t*>(host.const_data_ptr<std::int64_t>()), sums.size(), sums.begin());
    return sums;
  }
  const std::span<const std::byte> all(static_cast<const std::byte*>(values.const_data_ptr()), bytes);
  at::parallel_for(0, std::ssize(sums), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::uint64_t start = static_cast<std::uint64_t>(i) * bucket_bytes;
      sums[static_cast<std::size_t>(i)] = word_checksum(all.subspan(start, std::min(bucket_bytes, bytes - start)));
    }
  });
  return sums;
}

}  // namespace troupe
