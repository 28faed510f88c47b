#pragma once

#include <algorithm>

#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/hopper/pipeline.cuh"
#include "common/model/cuda/hopper/tensor_map.h"
#include "common/model/cuda/hopper/wgmma.cuh"
#include "common/model/cuda/matrix_instructions.cuh"

// Products whose results are finished in registers: left [rows, width] times right [columns, width] transposed, or right [width,
// columns], tile by tile; a functor gets the values of a tile while the next is being fetched. The bits of the sums are cuBLASLt's.

namespace troupe::cuda::tiles {

// A block has a tile of kRows x kColumns results, each of two warpgroups 64 of its rows; a third has the copy engine bring what
// they multiply. Two blocks of a cluster have neighbouring rows and the same columns, of which each brings half for both.
inline constexpr int kRows = 128, kColumns = 256, kInner = 64;
inline constexpr int kStages = 4, kConsumers = 256, kThreads = kConsumers + 128;
inline constexpr std::uint32_t kLeftBytes = kRows * kInner * sizeof(Bf16), kRightBytes = kColumns * kInner * sizeof(Bf16);
inline constexpr std::uint32_t kPanelBytes = kInner * 64 * sizeof(Bf16);  // of a right operand whose rows are the inner dimension
inline constexpr std::uint32_t kStageBytes = kLeftBytes + kRightBytes;
inline constexpr std::uint32_t kExchangeBytes = 1024;  // of a warp
inline constexpr std::size_t kSharedBytes = kStages * kStageBytes + 1024 + 16 * kStages + kConsumers / 32 * kExchangeBytes;
inline constexpr int kPairsTogether =
    8;  // pairs of row tiles that go through all columns together: they stay in the second-level cache

/// Columns [first_column, first_column + columns) of a product. A tile's second 128 columns are `second_half` behind its first; the
/// next tile is `tile_columns` behind it.
struct Work {
  int rows, columns, first_column, second_half, tile_columns, steps;
  int row_pairs, column_tiles;
};

struct Tile {
  int row, column;  // its first; the column counts from first_column
};

__device__ __forceinline__ Tile tile_of(const Work& work, int index, int rank) {
  const int group = index / (kPairsTogether * work.column_tiles), first = group * kPairsTogether;
  const int within = index - first * work.column_tiles, pairs = min(kPairsTogether, work.row_pairs - first);
  return {(2 * (first + within % pairs) + rank) * kRows, within / pairs * work.tile_columns};
}

/// Addresses in shared memory.
struct Shared {
  std::uint32_t stages;
  __device__ __forceinline__ std::uint32_t left(int stage) const {
    return stages + static_cast<std::uint32_t>(stage) * kStageBytes;
  }
  __device__ __forceinline__ std::uint32_t right(int stage) const { return left(stage) + kLeftBytes; }
  __device__ __forceinline__ std::uint32_t full(int stage) const { return left(kStages) + 16 * static_cast<std::uint32_t>(stage); }
  __device__ __forceinline__ std::uint32_t empty(int stage) const { return full(stage) + 8; }
  __device__ __forceinline__ std::uint32_t exchange(int warp) const { return full(kStages) + kExchangeBytes * static_cast<std::uint32_t>(warp); }
};

/// The half of a stage's right operand that this block brings for both.
template <typename Right>
__device__ __forceinline__ void bring_right(const CUtensorMap& right, const Work& work, const Shared& shared, int stage, int column,
                                            int inner, std::uint32_t rank) {
  const std::uint32_t to = shared.right(stage) + rank * (kRightBytes / 2), full = shared.full(stage);
  const int half = static_cast<int>(rank);
  if constexpr (Right::kTransposed == 0) {
    copy_box_to(3, to, &right, full, inner, column + half * work.second_half);
  } else {
#pragma unroll
    for (int panel = 0; panel < kColumns / 128; ++panel) {
      copy_box_to(3, to + static_cast<std::uint32_t>(panel) * kPanelBytes, &right, full, column + half * (kColumns / 2) + 64 * panel,
                  inner);
    }
  }
}

/// By one thread.
template <typename Right>
__device__ __forceinline__ void produce(const CUtensorMap& left, const CUtensorMap& right, const Work& work, const Shared& shared,
                                        std::uint32_t rank) {
  RingPlace<kStages> place;
  const int tiles = work.row_pairs * work.column_tiles;
  for (int index = static_cast<int>(blockIdx.x / 2); index < tiles; index += static_cast<int>(gridDim.x / 2)) {
    const Tile tile = tile_of(work, index, static_cast<int>(rank));
    for (int step = 0; step < work.steps; ++step, place.next()) {
      const std::uint32_t full = shared.full(place.stage);
      await(shared.empty(place.stage), place.parity ^ 1);
      arrive_expecting(full, kStageBytes);
      copy_box(shared.left(place.stage), &left, full, step * kInner, tile.row);
      bring_right<Right>(right, work, shared, place.stage, work.first_column + tile.column, step * kInner, rank);
    }
  }
}

/// This warp has read the stage; both blocks of the cluster write to it.
__device__ __forceinline__ void release(const Shared& shared, int stage) {
  if (threadIdx.x % 32 < 2) arrive_at(shared.empty(stage), threadIdx.x % 32);
}

/// 16 inner elements of a stage's right operand.
template <typename Right>
__device__ __forceinline__ Right right_part(std::uint32_t right, std::uint32_t part) {
  if constexpr (Right::kTransposed == 0)
    return matrix_at(right + 32 * part);
  else
    return rows_at(right + 2048 * part, kPanelBytes);
}

template <typename Right>
__device__ __forceinline__ void multiply_tile(float (&d)[kColumns / 2], const Work& work, const Shared& shared,
                                              RingPlace<kStages>& place) {
  const std::uint32_t own = threadIdx.x / 128 * (kLeftBytes / 2);
  int before = 0;
  for (int step = 0; step < work.steps; ++step) {
    await(shared.full(place.stage), place.parity);
    const std::uint32_t left = shared.left(place.stage) + own, right = shared.right(place.stage);
    begin_products();
#pragma unroll
    for (std::uint32_t i = 0; i < kInner / 16; ++i) {
      multiply(d, matrix_at(left + 32 * i), right_part<Right>(right, i), step > 0 || i > 0);
    }
    end_products();
    if (step > 0) {
      await_products<1>();
      release(shared, before);
    }
    before = place.stage;
    place.next();
  }
  await_products<0>();
  release(shared, before);
  pin(d);
}

/// The values of one of a thread's two rows: columns 8 j + 2 (lane % 4) and the next at 2 j, 2 j + 1.
template <int kHalf>
__device__ __forceinline__ void take_row(const float (&d)[kColumns / 2], float (&row)[kColumns / 4]) {
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j) {
    row[2 * j] = d[4 * j + 2 * kHalf];
    row[2 * j + 1] = d[4 * j + 2 * kHalf + 1];
  }
}

/// 16 rows that a warp has of a tile.
struct WarpRows {
  int row, column;         // the first of the product's; the column counts from first_column
  std::uint32_t exchange;  // 1 KiB of shared memory, the warp's own

  /// The first of a thread's two rows; the other is 8 below.
  __device__ __forceinline__ int own_row() const { return row + static_cast<int>(threadIdx.x % 32 / 4); }
  /// The first of a thread's columns of 32 that are exchanged.
  __device__ __forceinline__ int own_column(int part) const { return column + 32 * part + static_cast<int>(threadIdx.x % 4) * 8; }
};

/// What finishes tiles unless it says otherwise.
struct Finishing {
  using Right = AlongInner;  // how the right operand lies
  struct Ahead {};
  /// When a tile's product begins: what a thread loads for its end, while the product is computed.
  __device__ __forceinline__ Ahead foresee(const Work& /*work*/, const WarpRows& /*rows*/) const { return {}; }
};

/// Where 8 of 32 columns of one of 16 rows lie, so that neither way of access meets one bank twice.
__device__ __forceinline__ std::uint32_t exchange_place(std::uint32_t row, std::uint32_t eighth) {
  return row * 64 + ((eighth ^ row / 2 % 4) * 16);
}

/// Of 32 columns, whose values d begins with, rounded: own_column's 8 of a thread's two rows. For whole warps.
__device__ __forceinline__ void exchange(const float* d, std::uint32_t memory, Eight (&rows)[2]) {
  const std::uint32_t lane = threadIdx.x % 32;
  __syncwarp();
#pragma unroll
  for (std::uint32_t half = 0; half < 2; ++half) {
    const float* const own = d + 2 * half;
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                     memory + exchange_place(8 * half + lane % 8, lane / 8)),
                 "r"(pack_two(own[0], own[1])), "r"(pack_two(own[4], own[5])), "r"(pack_two(own[8], own[9])),
                 "r"(pack_two(own[12], own[13]))
                 : "memory");
  }
  __syncwarp();
#pragma unroll
  for (std::uint32_t half = 0; half < 2; ++half) {
    auto& to = reinterpret_cast<uint4&>(rows[half]);
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to.x), "=r"(to.y), "=r"(to.z), "=r"(to.w)
                 : "r"(memory + exchange_place(8 * half + lane / 4, lane % 4))
                 : "memory");
  }
}

/// finish(d, ahead, work, rows) for each tile, by each warp; d are a thread's values as wgmma.cuh says.
template <typename Finish>
__global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(kThreads, 1)
    kernel(const __grid_constant__ CUtensorMap left, const __grid_constant__ CUtensorMap right, Work work, Finish finish) {
  extern __shared__ char memory[];
  const Shared shared{(shared_address(memory) + 1023) / 1024 * 1024};
  const std::uint32_t rank = cluster_rank();
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      init_barrier(shared.full(stage), 1);
      init_barrier(shared.empty(stage), 2 * kConsumers / 32);
    }
    publish_barriers();
  }
  sync_cluster();
  if (threadIdx.x >= kConsumers) {
    give_registers<24>();
    if (threadIdx.x == kConsumers) produce<typename Finish::Right>(left, right, work, shared, rank);
    __syncwarp();
  } else {
    take_registers<240>();
    RingPlace<kStages> place;
    const int tiles = work.row_pairs * work.column_tiles, warp = static_cast<int>(threadIdx.x / 32);
    for (int index = static_cast<int>(blockIdx.x / 2); index < tiles; index += static_cast<int>(gridDim.x / 2)) {
      const Tile tile = tile_of(work, index, static_cast<int>(rank));
      const WarpRows rows{tile.row + 16 * warp, tile.column, shared.exchange(warp)};
      const typename Finish::Ahead ahead = finish.foresee(work, rows);
      float d[kColumns / 2];
      multiply_tile<typename Finish::Right>(d, work, shared, place);
      finish(d, ahead, work, rows);
    }
  }
  sync_cluster();  // nobody goes while the other may still write to its memory or barriers
}

/// The operands of a product: left [rows, width], right [all_columns, width] or [width, all_columns].
template <typename Right = AlongInner>
struct Operands {
  const Bf16* left;
  const Bf16* right;
  std::int64_t rows, width, all_columns;

  /// Whether the GPU is a Hopper and the copy engine can read them.
  bool serve() const { return is_hopper() && can_map(left, width) && can_map(right, Right::kTransposed == 0 ? width : all_columns); }
  CUtensorMap left_map() const { return map_of(left, rows, width, kRows); }
  CUtensorMap right_map() const {
    return Right::kTransposed == 0 ? map_of(right, all_columns, width, kColumns / 2) : map_of(right, width, all_columns, kInner);
  }
};

/// `work` has its columns' members set.
template <typename Finish>
void launch(const Operands<typename Finish::Right>& o, Work work, const Finish& finish, cudaStream_t stream) {
  if (o.rows == 0 || work.columns == 0) return;
  const auto parts = [](std::int64_t count, int each) { return static_cast<int>((count + each - 1) / each); };
  work.rows = static_cast<int>(o.rows);
  work.steps = parts(o.width, kInner);
  work.row_pairs = parts(o.rows, 2 * kRows);
  work.column_tiles = parts(work.columns, work.tile_columns);
  allow_shared_memory(reinterpret_cast<const void*>(&kernel<Finish>), kSharedBytes);
  const auto clusters = static_cast<unsigned>(std::min(multiprocessors() / 2, work.row_pairs * work.column_tiles));
  kernel<Finish><<<2 * clusters, kThreads, kSharedBytes, stream>>>(o.left_map(), o.right_map(), work, finish);
}

}  // namespace troupe::cuda::tiles
