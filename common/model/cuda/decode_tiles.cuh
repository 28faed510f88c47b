#pragma once

#include "common/model/cuda/elements.cuh"

// The shared memory of a block of decode_attention's threads.

namespace troupe::cuda {

/// Where chunk `chunk` (8 elements) of key `key` lies in a shared tile: chunks are exchanged so that eight neighbouring keys' lie
/// in different banks.
template <int HeadSize>
__device__ __forceinline__ int place(int key, int chunk) {
  constexpr int kChunks = HeadSize / 8;
  const int mixed = kChunks >= 8 ? chunk ^ (key & 7) : chunk ^ ((key >> 1) & (kChunks - 1));
  return key * HeadSize + mixed * 8;
}

inline constexpr int kDecodeWarps = 4;
inline constexpr int kDecodeThreads = 32 * kDecodeWarps;

/// What the warps of a block share. Keys come a block ahead of their use, values while the keys are used: so little memory that four
/// thread blocks fit on a multiprocessor.
template <int HeadSize, int Keys, int Heads>
struct DecodeShared {
  Bf16 keys[2][Keys * HeadSize];
  Bf16 values[Keys * HeadSize];
  Bf16 queries[Heads * HeadSize];
  Bf16 own_key[HeadSize], own_value[HeadSize];
  Bf16 weights[Heads * Keys];             // of the block's keys, for the product with the values
  float exponentials[Heads][Keys + 8];    // the same in fp32, for their sum
  float maxima[kDecodeWarps][Heads];
};

}  // namespace troupe::cuda
