#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace troupe::cuda {

constexpr int kMostPeers = 8;
constexpr int kPeerBlocks = 32;  // of sum_with_peers: few enough that those of all ranks find room on one GPU

/// Memory of the ranks' GPUs, which each of them can read.
struct PeerTerms {
  float* terms[kMostPeers];            // of each rank, room for two sums of `capacity` floats
  std::uint32_t* arrived[kMostPeers];  // of each rank, [kPeerBlocks] sums that its blocks have given their terms to; 0 at first
  std::int64_t capacity;
  int ranks;
  int rank;  // whose GPU this is
};

/// values [count], a multiple of 4 up to the capacity := their sum over the ranks, added in rank order. One kernel, which waits for
/// those of the other ranks, so each rank's GPU runs as many of them in the same order, and nothing that is needed for another
/// rank's may wait behind it. Ends in an error of the GPU where another rank's does not come within a minute.
void sum_with_peers(float* values, std::int64_t count, const PeerTerms& peers, cudaStream_t stream);

/// values [count], a multiple of 4 := the sum of the ranks' terms, `from` floats behind where each rank's begin, in rank order.
void add_terms(float* values, std::int64_t count, const PeerTerms& peers, std::int64_t from, cudaStream_t stream);

}  // namespace troupe::cuda
