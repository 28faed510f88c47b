#include "common/model/bucket_checksums.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

namespace troupe {
namespace {

TEST_SUITE("model/cuda/bucket_checksums") {
  TEST_CASE("a GPU comes to the CPU's checksums, whatever the sizes") {
    for (const std::int64_t count : {4, 1020, 1024, 100'000, 3'000'004}) {
      CAPTURE(count);
      const at::Tensor values = at::randint(-30'000, 30'000, {count}, at::TensorOptions(at::kShort)).view(at::kBFloat16);
      for (const std::uint64_t bucket_bytes : {std::uint64_t{8}, std::uint64_t{4096}, std::uint64_t{1} << 20}) {
        if (bucket_bytes == 8 && count > 100'000) continue;
        CHECK(bucket_checksums(values.to(at::kCUDA), bucket_bytes) == bucket_checksums(values, bucket_bytes));
      }
    }
  }
}

}  // namespace
}  // namespace troupe
