#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace troupe::cuda {

/// sums[b] += the word checksum of bucket b: words [b * bucket_words, (b + 1) * bucket_words) of `count` in all.
void add_word_checksums(const std::uint64_t* words, std::uint64_t count, std::uint64_t bucket_words, std::uint64_t* sums, cudaStream_t stream);

}  // namespace troupe::cuda
