#include "common/model/cuda/hopper/logits.h"

#include <algorithm>

#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/hopper/pipeline.cuh"
#include "common/model/cuda/hopper/tensor_map.h"
#include "common/model/cuda/hopper/wgmma.cuh"
#include "common/model/cuda/row_statistics.cuh"

namespace troupe::cuda {
namespace {

// A block has a tile of kRows x kColumns logits, each of two warpgroups 64 of its rows; a third has the copy engine bring what they
// multiply. Two blocks of a cluster have neighbouring rows and the same columns, of which each brings half for both.
constexpr int kRows = 128, kColumns = kLogitTile, kInner = 64;
constexpr int kStages = 4, kConsumers = 256, kThreads = kConsumers + 128;
constexpr std::uint32_t kHiddenBytes = kRows * kInner * sizeof(Bf16), kHeadBytes = kColumns * kInner * sizeof(Bf16);
constexpr std::uint32_t kStageBytes = kHiddenBytes + kHeadBytes;
constexpr std::size_t kSharedBytes = kStages * kStageBytes + 1024 + 16 * kStages;
constexpr int kPairsTogether = 8;  // pairs of row tiles that go through all columns together: they stay in the second-level cache

/// What all threads of a block know.
struct Work {
  int rows, columns, first_column, steps;
  int row_pairs, column_tiles;
};

struct Tile {
  int row, column;  // its first; the column counts from first_column
};

__device__ __forceinline__ Tile tile_of(const Work& work, int index, int rank) {
  const int group = index / (kPairsTogether * work.column_tiles), first = group * kPairsTogether;
  const int within = index - first * work.column_tiles, pairs = min(kPairsTogether, work.row_pairs - first);
  return {(2 * (first + within % pairs) + rank) * kRows, within / pairs * kColumns};
}

struct Shared {
  std::uint32_t stages, full, empty;
  __device__ __forceinline__ std::uint32_t hidden(int stage) const { return stages + static_cast<std::uint32_t>(stage) * kStageBytes; }
  __device__ __forceinline__ std::uint32_t head(int stage) const { return hidden(stage) + kHiddenBytes; }
  __device__ __forceinline__ std::uint32_t full_at(int stage) const { return full + 8 * static_cast<std::uint32_t>(stage); }
  __device__ __forceinline__ std::uint32_t empty_at(int stage) const { return empty + 8 * static_cast<std::uint32_t>(stage); }
};

__device__ __forceinline__ void produce(const CUtensorMap& hidden, const CUtensorMap& head, const Work& work, const Shared& shared,
                                        std::uint32_t rank) {
  RingPlace<kStages> place;
  const int tiles = work.row_pairs * work.column_tiles, half = static_cast<int>(rank) * (kColumns / 2);
  for (int index = static_cast<int>(blockIdx.x / 2); index < tiles; index += static_cast<int>(gridDim.x / 2)) {
    const Tile tile = tile_of(work, index, static_cast<int>(rank));
    for (int step = 0; step < work.steps; ++step, place.next()) {
      const std::uint32_t full = shared.full_at(place.stage);
      await(shared.empty_at(place.stage), place.parity ^ 1);
      arrive_expecting(full, kStageBytes);
      copy_box(shared.hidden(place.stage), &hidden, full, step * kInner, tile.row);
      copy_box_to(3, shared.head(place.stage) + rank * (kHeadBytes / 2), &head, full, step * kInner,
                  work.first_column + tile.column + half);
    }
  }
}

/// This warp has read the stage; both blocks of the cluster write to it.
__device__ __forceinline__ void release(const Shared& shared, int stage) {
  if (threadIdx.x % 32 < 2) arrive_at(shared.empty_at(stage), threadIdx.x % 32);
}

__device__ __forceinline__ void multiply_tile(float (&logits)[kColumns / 2], const Work& work, const Shared& shared, RingPlace<kStages>& place) {
  const std::uint32_t own = threadIdx.x / 128 * (kHiddenBytes / 2);
  int before = 0;
  for (int step = 0; step < work.steps; ++step) {
    await(shared.full_at(place.stage), place.parity);
    begin_products();
#pragma unroll
    for (std::uint32_t i = 0; i < kInner / 16; ++i) {
      multiply(logits, matrix_at(shared.hidden(place.stage) + own + 32 * i), matrix_at(shared.head(place.stage) + 32 * i), step > 0 || i > 0);
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
  pin(logits);
}

/// The values of one of a thread's two rows.
template <int kHalf>
__device__ __forceinline__ void take_row(const float (&logits)[kColumns / 2], float (&row)[kColumns / 4]) {
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j) {
    row[2 * j] = logits[4 * j + 2 * kHalf];
    row[2 * j + 1] = logits[4 * j + 2 * kHalf + 1];
  }
}

/// The partial of a row of the tile, and its target's logit.
struct Statistics {
  const std::int64_t* targets;
  float inverse_temperature;
  LogitPartial* partials;
  float* target_logits;

  __device__ __forceinline__ void operator()(float (&values)[kColumns / 4], const Work& work, int row, int column) const {
    const int lane = static_cast<int>(threadIdx.x % 4), count = min(kColumns, work.columns - column);
    if (count < kColumns) {
#pragma unroll
      for (int i = 0; i < kColumns / 4; ++i) {
        if (8 * (i / 2) + 2 * lane + i % 2 >= count) values[i] = row_statistics::kMinusInfinity;
      }
    }
    const LogitPartial partial = tile_partial(values, inverse_temperature);
    if (row >= work.rows) return;
    if (lane == 0) partials[static_cast<std::int64_t>(column / kColumns) * work.rows + row] = partial;
    const std::int64_t target = targets[row] - column;
    if (target < 0 || target >= count) return;
#pragma unroll
    for (int i = 0; i < kColumns / 4; ++i) {
      if (8 * (i / 2) + 2 * lane + i % 2 == target) target_logits[row] = values[i];
    }
  }
};

/// d logp / d logit_v = ([v is the target] - p_v) / temperature.
struct Gradients {
  const std::int64_t* targets;
  float inverse_temperature;
  const float* lse;
  const float* grad_logp;
  Bf16* gradients;

  __device__ __forceinline__ void operator()(float (&values)[kColumns / 4], const Work& work, int row, int column) const {
    const int lane = static_cast<int>(threadIdx.x % 4);
    const bool inside = row < work.rows;
    const float scale = exponent_scale(inverse_temperature), grad = inside ? __fmul_rn(grad_logp[row], inverse_temperature) : 0.0f;
    const float row_lse = inside ? __fmul_rn(lse[row], 1.4426950408889634f) : 0.0f;
    const int target = inside ? static_cast<int>(targets[row]) - work.first_column - column - 2 * lane : -1;
    Bf16* const to = gradients + static_cast<std::int64_t>(row) * work.columns + column + 8 * lane;
#pragma unroll
    for (int part = 0; part < kColumns / 32; ++part) {
      float grads[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float p = exp2_of(__fmaf_rn(values[8 * part + i], scale, -row_lse));
        grads[i] = (target == 32 * part + 8 * (i / 2) + i % 2 ? 1.0f - p : -p) * grad;
      }
      const uint4 eight = eight_columns(grads, lane);
      if (inside && column + 32 * part + 8 * lane < work.columns) *reinterpret_cast<uint4*>(to + 32 * part) = eight;
    }
  }

 private:
  /// Of 32 columns that four lanes have in pairs: lane c's columns 8 c … 8 c + 7.
  static __device__ __forceinline__ uint4 eight_columns(const float* values, int lane) {
    const auto both = [&](int i) {
      return static_cast<unsigned>(to_bf16(values[2 * i]).bits) | static_cast<unsigned>(to_bf16(values[2 * i + 1]).bits) << 16;
    };
    uint4 x{both(0), both(1), both(2), both(3)};
    const auto swap = [](unsigned& low, unsigned& high, bool upper, int distance) {
      const unsigned got = __shfl_xor_sync(0xffffffffu, upper ? low : high, distance);
      (upper ? low : high) = got;
    };
    swap(x.x, x.y, lane % 2 == 1, 1);
    swap(x.z, x.w, lane % 2 == 1, 1);
    swap(x.x, x.z, lane / 2 == 1, 2);
    swap(x.y, x.w, lane / 2 == 1, 2);
    return x;
  }
};

template <typename Finish>
__global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(kThreads, 1)
    logits_kernel(const __grid_constant__ CUtensorMap hidden, const __grid_constant__ CUtensorMap head, Work work, Finish finish) {
  extern __shared__ char memory[];
  const std::uint32_t begin = (shared_address(memory) + 1023) / 1024 * 1024, rank = cluster_rank();
  const Shared shared{begin, begin + kStages * kStageBytes, begin + kStages * (kStageBytes + 8)};
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      init_barrier(shared.full_at(stage), 1);
      init_barrier(shared.empty_at(stage), 2 * kConsumers / 32);
    }
    publish_barriers();
  }
  sync_cluster();
  if (threadIdx.x >= kConsumers) {
    give_registers<24>();
    if (threadIdx.x == kConsumers) produce(hidden, head, work, shared, rank);
    __syncwarp();
  } else {
    take_registers<240>();
    RingPlace<kStages> place;
    const int tiles = work.row_pairs * work.column_tiles;
    const int own = static_cast<int>(threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4);
    for (int index = static_cast<int>(blockIdx.x / 2); index < tiles; index += static_cast<int>(gridDim.x / 2)) {
      const Tile tile = tile_of(work, index, static_cast<int>(rank));
      float logits[kColumns / 2], row[kColumns / 4];
      multiply_tile(logits, work, shared, place);
      take_row<0>(logits, row);
      finish(row, work, tile.row + own, tile.column);
      take_row<1>(logits, row);
      finish(row, work, tile.row + own + 8, tile.column);
    }
  }
  sync_cluster();  // nobody goes while the other may still write to its memory or barriers
}

template <typename Finish>
void launch(const LogitProduct& product, std::int64_t first_column, std::int64_t columns, const Finish& finish, cudaStream_t stream) {
  if (product.rows == 0) return;
  const auto parts = [](std::int64_t count, std::int64_t each) { return (count + each - 1) / each; };
  const auto number = [](std::int64_t value) { return static_cast<int>(value); };
  const Work work{number(product.rows), number(columns), number(first_column), number(parts(product.width, kInner)),
                  number(parts(product.rows, 2 * kRows)), number(parts(columns, kColumns))};
  allow_shared_memory(reinterpret_cast<const void*>(&logits_kernel<Finish>), kSharedBytes);
  const auto blocks = 2 * static_cast<unsigned>(std::min(multiprocessors() / 2, work.row_pairs * work.column_tiles));
  logits_kernel<Finish><<<blocks, kThreads, kSharedBytes, stream>>>(map_of(product.hidden, product.rows, product.width, kRows),
                                                                    map_of(product.head, product.vocabulary, product.width, kColumns / 2), work,
                                                                    finish);
}

}  // namespace

bool fused_logits_serve(const LogitProduct& product) {
  return is_hopper() && can_map(product.hidden, product.width) && can_map(product.head, product.width);
}

void fused_partials(const LogitProduct& product, LogitPartial* partials, float* target_logits, cudaStream_t stream) {
  launch(product, 0, product.vocabulary, Statistics{product.targets, product.inverse_temperature, partials, target_logits}, stream);
}

void fused_gradients(const LogitProduct& product, std::int64_t first_column, std::int64_t columns, const float* lse, const float* grad_logp,
                     Bf16* gradients, cudaStream_t stream) {
  launch(product, first_column, columns, Gradients{product.targets, product.inverse_temperature, lse, grad_logp, gradients}, stream);
}

}  // namespace troupe::cuda
