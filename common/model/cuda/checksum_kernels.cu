#include "common/model/cuda/checksum_kernels.h"

#include "common/base/word_term.h"

namespace troupe::cuda {
namespace {

constexpr int kThreads = 512;
constexpr unsigned kBlocksPerBucket = 16;

__global__ void __launch_bounds__(kThreads) word_checksums_kernel(const std::uint64_t* words, std::uint64_t count, std::uint64_t bucket_words,
                                                                  std::uint64_t* sums) {
  const std::uint64_t first = blockIdx.y * bucket_words, left = count - first;
  const std::uint64_t here = left < bucket_words ? left : bucket_words;
  std::uint64_t sum = 0;
  for (std::uint64_t i = blockIdx.x * kThreads + threadIdx.x; i < here; i += kBlocksPerBucket * kThreads) sum += word_term(words[first + i], i);
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, distance);
  static_assert(sizeof(unsigned long long) == sizeof(std::uint64_t));
  if (threadIdx.x % 32 == 0) atomicAdd(reinterpret_cast<unsigned long long*>(sums + blockIdx.y), sum);  // whole numbers: in any order
}

}  // namespace

void add_word_checksums(const std::uint64_t* words, std::uint64_t count, std::uint64_t bucket_words, std::uint64_t* sums, cudaStream_t stream) {
  if (count == 0) return;
  const auto buckets = static_cast<unsigned>((count + bucket_words - 1) / bucket_words);
  word_checksums_kernel<<<dim3(kBlocksPerBucket, buckets), kThreads, 0, stream>>>(words, count, bucket_words, sums);
}

}  // namespace troupe::cuda
