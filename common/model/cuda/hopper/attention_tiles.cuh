#pragma once

#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/hopper/attention_backward.h"
#include "common/model/cuda/hopper/pipeline.cuh"
#include "common/model/cuda/hopper/wgmma.cuh"
#include "common/model/cuda/matrix_instructions.cuh"
#include "common/model/cuda/row_statistics.cuh"

// The parts of attention's kernels: tiles of 64 rows of a head that come through a ring of buffers in shared memory, and
// 64 rows of its own that each of a block's two warpgroups has in registers as wgmma.cuh says.

namespace troupe::cuda {

inline constexpr int kConsumers = 256, kBlockThreads = kConsumers + 128;
inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr std::uint32_t kPanelBytes = 64 * 64 * sizeof(Bf16);
template <int kHead>
inline constexpr std::uint32_t kTileBytes = kHead / 64 * kPanelBytes;

/// 16 inner elements of a left operand.
using Fragment = std::uint32_t[4];

/// A block's rows, [first, first + 128) of a sequence that begins at row `begin`.
struct Rows128 {
  int begin, length, first;
};

/// Blocks are numbered (head, sequence, part) so that those with most work come first: the last queries, the first keys.
__device__ __forceinline__ Rows128 rows_of(const AttentionGradient& g, bool last_first) {
  const int begin = g.starts[blockIdx.y], length = g.starts[blockIdx.y + 1] - begin, parts = (length + 127) / 128;
  const int part = static_cast<int>(blockIdx.z);
  return {begin, length, 128 * (!last_first ? part : part < parts ? parts - 1 - part : part)};
}

/// The first of a thread's two rows within its warpgroup's 64; the other is 8 below.
__device__ __forceinline__ int own_row() { return static_cast<int>(threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4); }

/// Shared memory of a block.
template <int kHead>
struct Ring {
  static constexpr int kStages = kHead == 64 ? 6 : 3;
  static constexpr std::uint32_t kKeptTiles = 4;
  static constexpr std::uint32_t kNumbersBytes = 64 * sizeof(float2);
  static constexpr std::size_t kSharedBytes =
      1024 + (2 * kStages + kKeptTiles) * kTileBytes<kHead> + kStages * (kNumbersBytes + 16) + 16;

  /// Makes the barriers, of which `fillers` threads fill a stage: for all threads of the block.
  __device__ __forceinline__ explicit Ring(std::uint32_t fillers) {
    extern __shared__ char memory[];
    const std::uint32_t shift = (1024 - shared_address(memory) % 1024) % 1024;
    numbers_ = reinterpret_cast<float2*>(memory + shift + (2 * kStages + kKeptTiles) * kTileBytes<kHead>);
    begin_ = shared_address(memory) + shift;
    barriers_ = shared_address(numbers_) + kStages * kNumbersBytes;
    if (threadIdx.x == 0) {
      for (int stage = 0; stage < kStages; ++stage) {
        init_barrier(full(stage), fillers);
        init_barrier(empty(stage), kConsumers / 32);
      }
      init_barrier(kept_full(), 1);
      publish_barriers();
    }
    __syncthreads();
  }
  __device__ __forceinline__ std::uint32_t first(int stage) const {
    return begin_ + 2 * static_cast<std::uint32_t>(stage) * kTileBytes<kHead>;
  }
  __device__ __forceinline__ std::uint32_t second(int stage) const { return first(stage) + kTileBytes<kHead>; }
  /// Tiles that stay.
  __device__ __forceinline__ std::uint32_t kept(int tile) const {
    return first(kStages) + static_cast<std::uint32_t>(tile) * kTileBytes<kHead>;
  }
  /// (log-sum-exp in powers of two, sum(dO O)) of a tile's queries.
  __device__ __forceinline__ float2* numbers(int stage) const { return numbers_ + 64 * stage; }
  __device__ __forceinline__ std::uint32_t full(int stage) const { return barriers_ + 16 * static_cast<std::uint32_t>(stage); }
  __device__ __forceinline__ std::uint32_t empty(int stage) const { return full(stage) + 8; }
  __device__ __forceinline__ std::uint32_t kept_full() const { return full(kStages); }
  /// This warp has read the stage.
  __device__ __forceinline__ void release(int stage) const {
    if (threadIdx.x % 32 == 0) arrive(empty(stage));
  }

 private:
  std::uint32_t begin_, barriers_;
  float2* numbers_;
};

template <int kHead>
__device__ __forceinline__ void copy_tile(std::uint32_t to, const CUtensorMap* map, std::uint32_t barrier, int head, int row) {
#pragma unroll
  for (int panel = 0; panel < kHead / 64; ++panel)
    copy_box(to + static_cast<std::uint32_t>(panel) * kPanelBytes, map, barrier, 64 * panel, head, row);
}

/// By one thread: tiles of two heads from `row` on to a stage, as soon as it is free.
template <int kHead>
__device__ __forceinline__ void bring_pair(const Ring<kHead>& ring, const RingPlace<Ring<kHead>::kStages>& place, const CUtensorMap* map,
                                           int first_head, int second_head, int row) {
  await(ring.empty(place.stage), place.parity ^ 1);
  arrive_expecting(ring.full(place.stage), 2 * kTileBytes<kHead>);
  copy_tile<kHead>(ring.first(place.stage), map, ring.full(place.stage), first_head, row);
  copy_tile<kHead>(ring.second(place.stage), map, ring.full(place.stage), second_head, row);
}

/// 16 inner elements of a tile whose rows run along the inner dimension.
__device__ __forceinline__ std::uint32_t inner_part(std::uint32_t tile, int part) {
  return tile + static_cast<std::uint32_t>(part / 4) * kPanelBytes + static_cast<std::uint32_t>(part % 4) * 32;
}

/// d = (own rows) (tile)^T over the head.
template <int kHead>
__device__ __forceinline__ void multiply_head(float (&d)[32], const Fragment (&own)[kHead / 16], std::uint32_t tile) {
#pragma unroll
  for (int i = 0; i < kHead / 16; ++i) multiply(d, own[i], matrix_at(inner_part(tile, i)), i > 0);
}
template <int kHead>
__device__ __forceinline__ void multiply_kept(float (&d)[32], std::uint32_t kept, std::uint32_t tile) {
#pragma unroll
  for (int i = 0; i < kHead / 16; ++i) multiply(d, matrix_at(inner_part(kept, i)), matrix_at(inner_part(tile, i)), i > 0);
}

/// d = (own) (tile) over the tile's rows, + d where `add`.
template <int kCount>
__device__ __forceinline__ void multiply_sums(float (&d)[kCount], const Fragment (&own)[4], std::uint32_t tile, bool add) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
    multiply(d, own[i], rows_at(tile + static_cast<std::uint32_t>(i) * 2048, kPanelBytes), add || i > 0);
}

/// A product's 64 columns as the left operand of another.
__device__ __forceinline__ void fragments_of(const float (&d)[32], Fragment (&out)[4]) {
#pragma unroll
  for (int i = 0; i < 16; ++i) out[i / 4][i % 4] = pack_two(d[2 * i], d[2 * i + 1]);
}

/// One of a fragment's values, element i of the product it was made of.
__device__ __forceinline__ float value_of(const Fragment (&fragments)[4], int i) {
  const std::uint32_t two = fragments[i / 8][i / 2 % 4];
  return __uint_as_float(i % 2 == 0 ? two << 16 : two & 0xFFFF0000U);
}

/// A thread's two rows of a head as left operands; zeros outside the sequence.
template <int kHead>
__device__ __forceinline__ void load_rows(const Bf16* from, int stride, const Rows128& block, int own,
                                          Fragment (&out)[kHead / 16]) {
#pragma unroll
  for (int i = 0; i < kHead / 4; ++i) {
    const int row = own + i % 2 * 8, column = i / 4 * 16 + i / 2 % 2 * 8 + static_cast<int>(threadIdx.x % 4) * 2;
    const Bf16* const place = from + static_cast<std::int64_t>(block.begin + row) * stride + column;
    out[i / 4][i % 4] = row < block.length ? *reinterpret_cast<const std::uint32_t*>(place) : 0U;
  }
}

/// sum(dO O) of a thread's two rows, which it also writes for the keys' kernel, and their log-sum-exps in powers of two: infinite
/// outside the sequence, where all probabilities are to be 0.
template <int kHead>
__device__ __forceinline__ void row_products(const AttentionGradient& g, const Rows128& block, int own, int head,
                                             const Fragment (&grads)[kHead / 16], float (&product)[2], float (&lse)[2]) {
  Fragment attended[kHead / 16];
  load_rows<kHead>(g.attended + head * kHead, g.heads * kHead, block, own, attended);
  product[0] = product[1] = 0;
#pragma unroll
  for (int i = 0; i < kHead / 4; ++i) {
    const std::uint32_t a = grads[i / 4][i % 4], b = attended[i / 4][i % 4];
    product[i % 2] += __uint_as_float(a << 16) * __uint_as_float(b << 16);
    product[i % 2] += __uint_as_float(a & 0xFFFF0000U) * __uint_as_float(b & 0xFFFF0000U);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    product[i] += __shfl_xor_sync(0xffffffffU, product[i], 1);
    product[i] += __shfl_xor_sync(0xffffffffU, product[i], 2);
    const int row = own + 8 * i;
    lse[i] = __int_as_float(0x7F800000);
    if (row >= block.length) continue;
    const std::int64_t place = head * g.rows + block.begin + row;
    lse[i] = g.lse[place] * kLog2E;
    if (threadIdx.x % 4 == 0) g.products[place] = product[i];
  }
}

/// What the keys' kernel must know of queries `query` and `query` + 32, loaded before there is room for it.
struct QueryNumbers {
  float2 values[2];
  __device__ __forceinline__ QueryNumbers(const AttentionGradient& g, const Rows128& block, int head, int query) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      values[i] = {__int_as_float(0x7F800000), 0};
      if (query + 32 * i >= block.length) continue;
      const std::int64_t place = head * g.rows + block.begin + query + 32 * i;
      values[i] = {g.lse[place] * kLog2E, g.products[place]};
    }
  }
  __device__ __forceinline__ void store(float2* to, int lane) const {
    to[lane] = values[0];
    to[lane + 32] = values[1];
  }
};

/// Rows of sums, scaled and where `kTurn` turned back by RoPE, to their head of grad_qkv.
template <int kHead, bool kTurn>
__device__ __forceinline__ void store_rows(const AttentionGradient& g, const Rows128& block, int own, int head, float scale,
                                           float (&d)[kHead / 2]) {
  const int column = static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
  for (int which = 0; which < 2; ++which) {
    const int row = own + 8 * which;
    if (row >= block.length) continue;
    const std::int64_t place = block.begin + row;
    const float* const cosines = g.rope + static_cast<std::int64_t>(g.positions[place]) * kHead;
    Bf16* const to = g.grad_qkv + (place * (g.heads + 2 * g.kv_heads) + head) * kHead + column;
#pragma unroll
    for (int j = 0; j < kHead / 16; ++j) {
      float low[2], high[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float a = d[4 * j + 2 * which + e] * scale, b = d[4 * (j + kHead / 16) + 2 * which + e] * scale;
        const int i = 8 * j + column + e;
        const float cosine = kTurn ? cosines[i] : 1.0f, sine = kTurn ? cosines[kHead / 2 + i] : 0.0f;
        low[e] = kTurn ? a * cosine + b * sine : a;
        high[e] = kTurn ? b * cosine - a * sine : b;
      }
      *reinterpret_cast<std::uint32_t*>(to + 8 * j) = pack_two(low[0], low[1]);
      *reinterpret_cast<std::uint32_t*>(to + 8 * j + kHead / 2) = pack_two(high[0], high[1]);
    }
  }
}

}  // namespace troupe::cuda
