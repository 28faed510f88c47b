#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/hopper/attention_backward.h"
#include "common/model/cuda/hopper/attention_tiles.cuh"
#include "common/model/cuda/hopper/tensor_map.h"

namespace troupe::cuda {
namespace {

/// By one thread: the keys and values that a block of queries goes through.
template <int kHead>
__device__ __forceinline__ void bring_keys(const Ring<kHead>& ring, const CUtensorMap& qkv, const AttentionGradient& g,
                                           const Rows128& block, int kv_head, int tiles) {
  RingPlace<Ring<kHead>::kStages> place;
  for (int tile = 0; tile < tiles; ++tile, place.next()) {
    bring_pair<kHead>(ring, place, &qkv, g.heads + kv_head, g.heads + g.kv_heads + kv_head, block.begin + 64 * tile);
  }
}

/// The queries that a block of keys goes through: tiles of 64 from `first_tile` on, `head_tiles` of each head of the group.
struct QuerySweep {
  int first_tile, head_tiles, heads;
  __device__ __forceinline__ QuerySweep(const AttentionGradient& g, const Rows128& block)
      : first_tile(block.first / 64), head_tiles((block.length + 63) / 64 - first_tile), heads(g.heads / g.kv_heads) {}
  __device__ __forceinline__ int tiles() const { return heads * head_tiles; }
  __device__ __forceinline__ int head(int tile) const { return tile / head_tiles; }
  __device__ __forceinline__ int query(int tile) const { return 64 * (first_tile + tile % head_tiles); }
};

/// By one warp: a block's keys and values, then the queries and gradients that it goes through.
template <int kHead>
__device__ __forceinline__ void bring_queries(const Ring<kHead>& ring, const CUtensorMap& qkv, const CUtensorMap& grad_attended,
                                              const AttentionGradient& g, const Rows128& block, int kv_head,
                                              const QuerySweep& sweep) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (lane == 0) {
    arrive_expecting(ring.kept_full(), 4 * kTileBytes<kHead>);
    for (int half = 0; half < 2; ++half) {
      const int row = block.begin + block.first + 64 * half;
      copy_tile<kHead>(ring.kept(half), &qkv, ring.kept_full(), g.heads + kv_head, row);
      copy_tile<kHead>(ring.kept(2 + half), &qkv, ring.kept_full(), g.heads + g.kv_heads + kv_head, row);
    }
  }
  RingPlace<Ring<kHead>::kStages> place;
  for (int tile = 0; tile < sweep.tiles(); ++tile, place.next()) {
    const int head = kv_head * sweep.heads + sweep.head(tile), query = sweep.query(tile);
    const QueryNumbers numbers(g, block, head, query + lane);
    await(ring.empty(place.stage), place.parity ^ 1);
    numbers.store(ring.numbers(place.stage), lane);
    if (lane == 0) {
      arrive_expecting(ring.full(place.stage), 2 * kTileBytes<kHead>);
      copy_tile<kHead>(ring.first(place.stage), &qkv, ring.full(place.stage), head, block.begin + query);
      copy_tile<kHead>(ring.second(place.stage), &grad_attended, ring.full(place.stage), head, block.begin + query);
    } else {
      arrive(ring.full(place.stage));
    }
  }
}

/// With P = e^(S - lse), dP = dO V^T, D = sum(dO O) of a row: dS = P (dP - D), dQ = dS K / sqrt(head size). One block has 128
/// queries of a head and goes through the keys.
template <int kHead>
__global__ void __launch_bounds__(kBlockThreads, 1)
    query_gradient_kernel(const __grid_constant__ CUtensorMap qkv, AttentionGradient g) {
  const Rows128 block = rows_of(g, true);
  if (block.first >= block.length) return;
  const int head = static_cast<int>(blockIdx.x), kv_head = head / (g.heads / g.kv_heads);
  const Ring<kHead> ring(1);
  const int tiles = (min(block.first + 128, block.length) + 63) / 64;
  if (threadIdx.x >= kConsumers) {
    give_registers<24>();
    if (threadIdx.x == kConsumers) bring_keys<kHead>(ring, qkv, g, block, kv_head, tiles);
    return;
  }
  take_registers<240>();

  const int first = block.first + static_cast<int>(threadIdx.x / 128) * 64, own = first + own_row(),
            column = static_cast<int>(threadIdx.x % 4) * 2;
  const float scale = rsqrtf(static_cast<float>(kHead)) * kLog2E;
  Fragment queries[kHead / 16], grads[kHead / 16];
  load_rows<kHead>(g.qkv + head * kHead, (g.heads + 2 * g.kv_heads) * kHead, block, own, queries);
  load_rows<kHead>(g.grad_attended + head * kHead, g.heads * kHead, block, own, grads);
  float product[2], lse[2];
  row_products<kHead>(g, block, own, head, grads, product, lse);

  float scores[32], changes[32], sum[kHead / 2];
  RingPlace<Ring<kHead>::kStages> place;
  int before = 0;
  const int own_tiles = min(tiles, first / 64 + 1);
  for (int tile = 0; tile < own_tiles; ++tile) {
    await(ring.full(place.stage), place.parity);
    begin_products();
    multiply_head<kHead>(scores, queries, ring.first(place.stage));
    end_products();
    multiply_head<kHead>(changes, grads, ring.second(place.stage));
    end_products();
    await_products<2>();
    if (tile > 0) ring.release(before);
    await_products<1>();
    pin(scores);
#pragma unroll
    for (int i = 0; i < 32; ++i) scores[i] = exp2_of(__fmaf_rn(scores[i], scale, -lse[i / 2 % 2]));
    if (64 * tile + 63 > first) {
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        if (64 * tile + i / 4 * 8 + column + i % 2 > own + i / 2 % 2 * 8) scores[i] = 0;
      }
    }
    await_products<0>();
    pin(changes);
#pragma unroll
    for (int i = 0; i < 32; ++i) changes[i] = scores[i] * (changes[i] - product[i / 2 % 2]);
    Fragment rounded[4];
    fragments_of(changes, rounded);
    begin_products();
    multiply_sums(sum, rounded, ring.first(place.stage), tile > 0);
    end_products();
    before = place.stage;
    place.next();
  }
  await_products<0>();
  pin(sum);
  store_rows<kHead, true>(g, block, own, head, rsqrtf(static_cast<float>(kHead)), sum);
}

/// dV = P^T dO, dK = dS^T Q / sqrt(head size), summed over the heads of a group. One block has 128 keys of a key head and goes
/// through the queries of these heads.
template <int kHead>
__global__ void __launch_bounds__(kBlockThreads, 1)
    key_gradient_kernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ CUtensorMap grad_attended,
                        AttentionGradient g) {
  const Rows128 block = rows_of(g, false);
  if (block.first >= block.length) return;
  const int kv_head = static_cast<int>(blockIdx.x);
  const Ring<kHead> ring(32);
  const QuerySweep sweep(g, block);
  if (threadIdx.x >= kConsumers) {
    give_registers<24>();
    if (threadIdx.x < kConsumers + 32) bring_queries<kHead>(ring, qkv, grad_attended, g, block, kv_head, sweep);
    return;
  }
  take_registers<240>();

  const int half = static_cast<int>(threadIdx.x / 128), first = block.first + half * 64, own = first + own_row();
  const int column = static_cast<int>(threadIdx.x % 4) * 2;
  const float scale = rsqrtf(static_cast<float>(kHead)) * kLog2E;
  float scores[32], changes[32], keys[kHead / 2] = {}, values[kHead / 2] = {};
  RingPlace<Ring<kHead>::kStages> place;
  int before = -1;
  await(ring.kept_full(), 0);
  for (int tile = 0; tile < sweep.tiles(); ++tile, place.next()) {
    const int query = sweep.query(tile);
    await(ring.full(place.stage), place.parity);
    if (query < first) {  // no query sees a key
      ring.release(place.stage);
      continue;
    }
    begin_products();
    multiply_kept<kHead>(scores, ring.kept(half), ring.first(place.stage));
    end_products();
    multiply_kept<kHead>(changes, ring.kept(2 + half), ring.second(place.stage));
    end_products();
    await_products<2>();
    if (before >= 0) ring.release(before);
    await_products<1>();
    pin(scores);
    const float2* const numbers = ring.numbers(place.stage) + column;
#pragma unroll
    for (int i = 0; i < 32; ++i) scores[i] = exp2_of(__fmaf_rn(scores[i], scale, -numbers[i / 4 * 8 + i % 2].x));
    if (query == first) {
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        if (query + i / 4 * 8 + column + i % 2 < own + i / 2 % 2 * 8) scores[i] = 0;
      }
    }
    Fragment rounded[4], rounded_changes[4];
    fragments_of(scores, rounded);
    begin_products();
    multiply_sums(values, rounded, ring.second(place.stage), true);
    end_products();
    await_products<1>();
    pin(changes);
#pragma unroll
    for (int i = 0; i < 32; ++i) changes[i] = value_of(rounded, i) * (changes[i] - numbers[i / 4 * 8 + i % 2].y);
    fragments_of(changes, rounded_changes);
    begin_products();
    multiply_sums(keys, rounded_changes, ring.first(place.stage), true);
    end_products();
    if constexpr (kHead == 128) await_products<0>();  // there are no registers for more at once
    before = place.stage;
  }
  await_products<0>();
  pin(keys);
  pin(values);
  store_rows<kHead, true>(g, block, own, g.heads + kv_head, rsqrtf(static_cast<float>(kHead)), keys);
  store_rows<kHead, false>(g, block, own, g.heads + g.kv_heads + kv_head, 1.0f, values);
}

template <int kHead>
void launch(const AttentionGradient& g, cudaStream_t stream) {
  const std::int64_t all = g.heads + 2 * g.kv_heads;
  const CUtensorMap qkv = map_of_heads(g.qkv, g.rows, all, kHead, all * kHead, 64);
  const CUtensorMap grad_attended = map_of_heads(g.grad_attended, g.rows, g.heads, kHead, std::int64_t{g.heads} * kHead, 64);
  const auto size = [](std::int32_t value) { return static_cast<unsigned>(value); };
  const unsigned blocks = blocks_of(g.longest, 128);
  constexpr std::size_t kBytes = Ring<kHead>::kSharedBytes;
  allow_shared_memory(reinterpret_cast<const void*>(&query_gradient_kernel<kHead>), kBytes);
  allow_shared_memory(reinterpret_cast<const void*>(&key_gradient_kernel<kHead>), kBytes);
  query_gradient_kernel<kHead><<<dim3(size(g.heads), size(g.sequences), blocks), kBlockThreads, kBytes, stream>>>(qkv, g);
  key_gradient_kernel<kHead>
      <<<dim3(size(g.kv_heads), size(g.sequences), blocks), kBlockThreads, kBytes, stream>>>(qkv, grad_attended, g);
}

}  // namespace

bool attention_backward_serves(const AttentionGradient& g) {
  const std::int64_t width = std::int64_t{g.heads + 2 * g.kv_heads} * g.head_size;
  return (g.head_size == 64 || g.head_size == 128) && is_hopper() && can_map(g.qkv, width) && can_map(g.grad_attended, width) &&
         g.sequences < 65536 && blocks_of(g.longest, 128) < 65536;
}

void attention_backward(const AttentionGradient& g, cudaStream_t stream) {
  if (g.rows == 0) return;
  if (g.head_size == 64) {
    launch<64>(g, stream);
  } else {
    launch<128>(g, stream);
  }
}

}  // namespace troupe::cuda
