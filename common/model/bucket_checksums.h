#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace troupe {

/// The word checksums (common/base/word_checksum.h) of the buckets of `bucket_bytes` that the bytes of a contiguous tensor fall
/// into, wherever it lies; on a GPU both are multiples of 8 bytes. Returns when they are there. @throws DeviceError.
std::vector<std::uint64_t> bucket_checksums(const at::Tensor& values, std::uint64_t bucket_bytes);

namespace cuda {
/// The same of a tensor on a GPU: int64 [buckets] on it, in order on ATen's stream.
at::Tensor bucket_checksums(const at::Tensor& values, std::uint64_t bucket_bytes);
}  // namespace cuda

}  // namespace troupe
