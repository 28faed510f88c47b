#include "common/model/cuda/peer_sum.h"

#include "common/model/cuda/elements.cuh"

// After the one-shot all-reduce of vLLM's csrc/custom_all_reduce.cuh (Apache-2.0): each rank reads what all have written to buffers
// of their own. Its buffers are two in turn, so that one meeting of the ranks is enough: who comes to sum n + 2 has seen all others
// in sum n + 1, behind their reading of sum n.

namespace troupe::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::uint64_t kPatienceNs = 60'000'000'000;

__device__ __forceinline__ std::uint32_t load_acquire(const std::uint32_t* from) {
  std::uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

__device__ __forceinline__ void store_release(std::uint32_t* to, std::uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}

__device__ __forceinline__ std::uint64_t now_ns() {
  std::uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

/// Until the count at `from`, which may pass its end, has come to `turn`.
__device__ void wait_for(const std::uint32_t* from, std::uint32_t turn) {
  const std::uint64_t begin = now_ns();
  while (static_cast<std::int32_t>(load_acquire(from) - turn) < 0) {
    if (now_ns() - begin > kPatienceNs) __trap();
  }
}

__device__ __forceinline__ void add_four(float* values, const PeerTerms& peers, std::int64_t from, std::int64_t i) {
  FourFloats sum = load4(peers.terms[0] + from + i);
  for (int rank = 1; rank < peers.ranks; ++rank) {
    const FourFloats term = load4(peers.terms[rank] + from + i);
#pragma unroll
    for (int k = 0; k < 4; ++k) sum.v[k] = __fadd_rn(sum.v[k], term.v[k]);
  }
  *reinterpret_cast<FourFloats*>(values + i) = sum;
}

__global__ void __launch_bounds__(kThreads) sum_with_peers_kernel(float* values, std::int64_t count, PeerTerms peers) {
  const std::int64_t first = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * 4,
                     stride = std::int64_t{gridDim.x} * kThreads * 4;
  std::uint32_t* const own = peers.arrived[peers.rank] + blockIdx.x;
  __shared__ std::uint32_t turn;
  if (threadIdx.x == 0) turn = *own + 1;
  __syncthreads();
  const std::int64_t from = turn % 2 * peers.capacity;
  for (std::int64_t i = first; i < count; i += stride) {
    *reinterpret_cast<FourFloats*>(peers.terms[peers.rank] + from + i) = load4(values + i);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence_system();
    store_release(own, turn);
  }
  if (threadIdx.x < peers.ranks) wait_for(peers.arrived[threadIdx.x] + blockIdx.x, turn);
  __syncthreads();
  for (std::int64_t i = first; i < count; i += stride) add_four(values, peers, from, i);
}

__global__ void __launch_bounds__(kThreads)
    add_terms_kernel(float* values, std::int64_t count, PeerTerms peers, std::int64_t from) {
  const std::int64_t i = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * 4;
  if (i < count) add_four(values, peers, from, i);
}

}  // namespace

void sum_with_peers(float* values, std::int64_t count, const PeerTerms& peers, cudaStream_t stream) {
  sum_with_peers_kernel<<<kPeerBlocks, kThreads, 0, stream>>>(values, count, peers);
}

void add_terms(float* values, std::int64_t count, const PeerTerms& peers, std::int64_t from, cudaStream_t stream) {
  if (count == 0) return;
  add_terms_kernel<<<blocks_of(count, 4 * kThreads), kThreads, 0, stream>>>(values, count, peers, from);
}

}  // namespace troupe::cuda
