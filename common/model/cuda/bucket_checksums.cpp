#include "common/model/bucket_checksums.h"

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/cuda/checksum_kernels.h"
#include "common/model/cuda/device.h"

namespace troupe::cuda {

at::Tensor bucket_checksums(const at::Tensor& values, std::uint64_t bucket_bytes) {
  check(values.nbytes() % 8 == 0 && bucket_bytes % 8 == 0, "buckets on a GPU are of whole words");
  const std::uint64_t words = values.nbytes() / 8, bucket_words = bucket_bytes / 8;
  const auto buckets = static_cast<std::int64_t>((words + bucket_words - 1) / bucket_words);
  const at::Tensor sums = at::zeros({buckets}, values.options().dtype(at::kLong));
  add_word_checksums(static_cast<const std::uint64_t*>(values.const_data_ptr()), words, bucket_words,
                     static_cast<std::uint64_t*>(sums.mutable_data_ptr()), current_stream());
  check_cuda(cudaGetLastError(), "the checksums of weights");
  return sums;
}

}  // namespace troupe::cuda
