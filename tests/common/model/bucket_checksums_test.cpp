#include "common/model/bucket_checksums.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "common/base/word_checksum.h"

namespace troupe {
namespace {

TEST_SUITE("model/bucket_checksums") {
  TEST_CASE("are the word checksums of each bucket's bytes, the last one short") {
    const at::Tensor values = at::arange(1000, at::TensorOptions(at::kFloat)).to(at::kBFloat16);  // 2,000 bytes
    const auto* data = static_cast<const std::byte*>(values.const_data_ptr());

    const std::vector<std::uint64_t> sums = bucket_checksums(values, 768);

    REQUIRE(sums.size() == 3);
    CHECK(sums[0] == word_checksum(std::span(data, 768)));
    CHECK(sums[1] == word_checksum(std::span(data + 768, 768)));
    CHECK(sums[2] == word_checksum(std::span(data + 1536, 464)));
    CHECK(bucket_checksums(values, 2000).size() == 1);
    CHECK(bucket_checksums(values.narrow(0, 0, 0), 768).empty());
  }
}

}  // namespace
}  // namespace troupe
