#include "common/model/cuda/hopper/attention_forward.h"

#include <cmath>

#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/hopper/attention_tiles.cuh"
#include "common/model/cuda/hopper/tensor_map.h"

namespace troupe::cuda {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();

/// The tiles of 64 keys that FlashAttention-2 takes as one block.
template <int kHead>
inline constexpr int kBlockTiles = kHead == 64 ? 2 : 1;

/// Softmax's scale, also times log2(e), as FlashAttention-2 rounds them.
struct Scale {
  float scale, in_twos;
};

/// 128 queries of a head. Items are numbered so that those with most keys come first and heads that share keys are neighbours; each
/// thread block takes every gridDim.x-th.
struct Item {
  int head;
  Rows128 block;

  __device__ __forceinline__ Item(const AttentionRows& g, int index) {
    const int rows = g.heads * g.sequences, sequence = index % rows / g.heads;
    head = index % g.heads;
    block.begin = g.starts[sequence];
    block.length = g.starts[sequence + 1] - block.begin;
    block.first = 128 * ((block.length + 127) / 128 - 1 - index / rows);
  }
  __device__ __forceinline__ bool empty() const { return block.first < 0; }
  template <int kHead>
  __device__ __forceinline__ int key_blocks() const {
    return (min(block.first + 128, block.length) + 64 * kBlockTiles<kHead> - 1) / (64 * kBlockTiles<kHead>);
  }
};

__device__ __forceinline__ int items_of(const AttentionRows& g) { return g.heads * g.sequences * ((g.longest + 127) / 128); }

/// By one thread: the keys and values of the block's items.
template <int kHead>
__device__ __forceinline__ void bring_items(const Ring<kHead>& ring, const CUtensorMap& qkv, const AttentionRows& g) {
  RingPlace<Ring<kHead>::kStages> place;
  for (int index = static_cast<int>(blockIdx.x); index < items_of(g); index += static_cast<int>(gridDim.x)) {
    const Item item(g, index);
    if (item.empty()) continue;
    const int kv_head = item.head / (g.heads / g.kv_heads);
    for (int block = item.key_blocks<kHead>() - 1; block >= 0; --block) {
      for (int tile = 0; tile < kBlockTiles<kHead>; ++tile, place.next()) {
        bring_pair<kHead>(ring, place, &qkv, g.heads + kv_head, g.heads + g.kv_heads + kv_head,
                          item.block.begin + 64 * (kBlockTiles<kHead> * block + tile));
      }
    }
  }
}

/// The matrix units take turns between the warpgroups: while one's products are computed the other's scores become weights.
struct Turns {
  int own = static_cast<int>(threadIdx.x / 128);
  __device__ __forceinline__ Turns() {
    if (own == 1) pass();
  }
  __device__ __forceinline__ void await() const { asm volatile("bar.sync %0, %1;" ::"r"(1 + own), "n"(kConsumers) : "memory"); }
  __device__ __forceinline__ void pass() const { asm volatile("bar.arrive %0, %1;" ::"r"(2 - own), "n"(kConsumers) : "memory"); }
  /// The first warpgroup takes the turn that nobody needs any more.
  __device__ __forceinline__ void end() const {
    if (own == 0) await();
  }
};

/// 2^x as exp2f, for x <= 0.
template <bool kDenormals>
__device__ __forceinline__ float power_of_two(float x) {
  return kDenormals ? exp2f(x) : exp2_of(x);
}

/// What a thread has of its two rows.
template <int kHead>
struct Rows {
  static constexpr int kScores = 32 * kBlockTiles<kHead>;
  float out[kHead / 2] = {};
  float max[2] = {kMinusInfinity, kMinusInfinity}, sum[2] = {}, rescale[2] = {};

  static __device__ __forceinline__ float& of(float (&scores)[kBlockTiles<kHead>][32], int which, int i) {
    return scores[i / 16][i % 16 / 2 * 4 + 2 * which + i % 2];
  }

  /// The smallest of a thread's scores in each row.
  static __device__ __forceinline__ float2 lowest(float (&scores)[kBlockTiles<kHead>][32]) {
    float2 low = {of(scores, 0, 0), of(scores, 1, 0)};
#pragma unroll
    for (int i = 1; i < kScores / 2; ++i) low = {fminf(low.x, of(scores, 0, i)), fminf(low.y, of(scores, 1, i))};
    return low;
  }

  /// Turns a block's scores to weights relative to the largest so far. `low` are the smallest of them, but for those that are masked.
  __device__ __forceinline__ void soften(float (&scores)[kBlockTiles<kHead>][32], float scale, float2 low) {
    float scaled[2];
    bool denormal = false;
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      float top = max[which];
#pragma unroll
      for (int i = 0; i < kScores / 2; ++i) top = fmaxf(top, of(scores, which, i));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffU, top, 2));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffU, top, 1));
      const float base = top == kMinusInfinity ? 0.0F : top;
      scaled[which] = __fmul_rn(base, scale);
      rescale[which] = exp2f(__fmul_rn(__fsub_rn(max[which], base), scale));
      max[which] = top;
      denormal = denormal || __fsub_rn(__fmul_rn(which == 0 ? low.x : low.y, scale), scaled[which]) < -126.0F;
    }
    if (__any_sync(0xffffffffU, denormal)) {
      weigh<true>(scores, scale, scaled);
    } else {
      weigh<false>(scores, scale, scaled);
    }
  }

  template <bool kDenormals>
  __device__ __forceinline__ void weigh(float (&scores)[kBlockTiles<kHead>][32], float scale, const float (&scaled)[2]) {
#pragma unroll
    for (int which = 0; which < 2; ++which) {
#pragma unroll
      for (int i = 0; i < kScores / 2; ++i) {
        float& score = of(scores, which, i);
        score = power_of_two<kDenormals>(__fsub_rn(__fmul_rn(score, scale), scaled[which]));
        sum[which] = i == 0 ? __fmaf_rn(sum[which], rescale[which], score) : __fadd_rn(sum[which], score);
      }
    }
  }

  /// Brings what was added up before to the weights' scale.
  __device__ __forceinline__ void rescale_out() {
#pragma unroll
    for (int i = 0; i < kHead / 2; ++i) out[i] = __fmul_rn(out[i], rescale[i / 2 % 2]);
  }

  __device__ __forceinline__ void store(const AttentionRows& g, const Item& item, int own, float scale) {
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      float all = __fadd_rn(sum[which], __shfl_xor_sync(0xffffffffU, sum[which], 2));
      all = __fadd_rn(all, __shfl_xor_sync(0xffffffffU, all, 1));
      const bool none = all == 0 || all != all;
      const float inverse = none ? 1.0F : __fdiv_rn(1.0F, all);
      if (own + 8 * which >= item.block.length) continue;
      const std::int64_t row = item.block.begin + own + 8 * which;
      if (threadIdx.x % 4 == 0) g.lse[item.head * g.rows + row] = none ? __builtin_inff() : max[which] * scale + logf(all);
      Bf16* const to = g.attended + (row * g.heads + item.head) * kHead + static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
      for (int j = 0; j < kHead / 8; ++j) {
        *reinterpret_cast<std::uint32_t*>(to + 8 * j) =
            pack_two(__fmul_rn(out[4 * j + 2 * which], inverse), __fmul_rn(out[4 * j + 2 * which + 1], inverse));
      }
    }
  }
};

/// S = Q K^T, P = e^(S - max), O = P V, block by block of keys. Each of a block's two warpgroups has 64 queries of the item.
template <int kHead>
__global__ void __launch_bounds__(kBlockThreads, 1)
    attention_forward_kernel(const __grid_constant__ CUtensorMap qkv, AttentionRows g, Scale scale) {
  constexpr int kTiles = kBlockTiles<kHead>, kStride = 64 * kTiles;
  const Ring<kHead> ring(1);
  if (threadIdx.x >= kConsumers) {
    give_registers<24>();
    if (threadIdx.x == kConsumers) bring_items<kHead>(ring, qkv, g);
    return;
  }
  take_registers<240>();

  const int half = static_cast<int>(threadIdx.x / 128) * 64, column = static_cast<int>(threadIdx.x % 4) * 2;
  const int step = static_cast<int>(gridDim.x), items = items_of(g);
  const auto load = [&](const Item& item, Fragment(&queries)[kHead / 16]) {
    if (item.empty()) return;
    load_rows<kHead>(g.qkv + item.head * kHead, (g.heads + 2 * g.kv_heads) * kHead, item.block, item.block.first + half + own_row(),
                     queries);
  };
  const Turns turns;
  Fragment queries[kHead / 16] = {}, next[kHead / 16] = {};
  RingPlace<Ring<kHead>::kStages> place;
  Item item(g, static_cast<int>(blockIdx.x)), next_item = item;
  load(item, next);
  for (int index = static_cast<int>(blockIdx.x); index < items; index += step) {
    item = next_item;
#pragma unroll
    for (int i = 0; i < kHead / 4; ++i) queries[i / 4][i % 4] = next[i / 4][i % 4];
    if (index + step < items) {
      next_item = Item(g, index + step);
      load(next_item, next);  // they come while this item is computed
    }
    if (item.empty()) continue;
    const int first = item.block.first + half, own = first + own_row();
    Rows<kHead> rows;
    float scores[kTiles][32];
    Fragment weights[kTiles][4];
    /// The first of the stages that hold a block of keys is its `stage`.
    const auto stage_of = [](int stage, int tile) { return (stage + tile) % Ring<kHead>::kStages; };
    const auto release = [&](int stage) {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) ring.release(stage_of(stage, tile));
    };
    /// The first stage of the next block of keys, once it is there and the matrix units are free.
    const auto next_stage = [&] {
      const int stage = place.stage;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile, place.next()) await(ring.full(place.stage), place.parity);
      turns.await();
      return stage;
    };
    const auto score = [&](int stage) {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) multiply_head<kHead>(scores[tile], queries, ring.first(stage_of(stage, tile)));
      end_products();
    };
    const auto add_values = [&](int stage) {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) multiply_sums(rows.out, weights[tile], ring.second(stage_of(stage, tile)), true);
      end_products();
    };
    const auto round_weights = [&] {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) fragments_of(scores[tile], weights[tile]);
    };

    int block = item.key_blocks<kHead>() - 1, before = next_stage();
    if (kStride * block > first + 63) {  // no query sees a key
      turns.pass();
      release(before);
      --block;
      before = next_stage();
    }
    begin_products();
    score(before);
    turns.pass();
    await_products<0>();
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) pin(scores[tile]);
    const float2 low = rows.lowest(scores);
#pragma unroll
    for (int i = 0; i < 32 * kTiles; ++i) {
      const int key = kStride * block + i / 32 * 64 + i % 32 / 4 * 8 + column + i % 2;
      if (key > own + i / 2 % 2 * 8) scores[i / 32][i % 32] = kMinusInfinity;
    }
    rows.soften(scores, scale.in_twos, low);
    round_weights();
    for (--block; block >= 0; --block) {
      const int stage = next_stage();
      begin_products();
      score(stage);
      add_values(before);
      turns.pass();
      await_products<1>();
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) pin(scores[tile]);
      rows.soften(scores, scale.in_twos, rows.lowest(scores));
      await_products<0>();
      pin(rows.out);
      release(before);
      before = stage;
      rows.rescale_out();
      round_weights();
    }
    begin_products();
    add_values(before);
    await_products<0>();
    pin(rows.out);
    release(before);
    rows.store(g, item, own, scale.scale);
  }
  turns.end();
}

template <int kHead>
void launch(const AttentionRows& g, cudaStream_t stream) {
  const std::int64_t all = g.heads + 2 * g.kv_heads;
  const CUtensorMap qkv = map_of_heads(g.qkv, g.rows, all, kHead, all * kHead, 64);
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(kHead)));
  const std::int64_t items = std::int64_t{g.heads} * g.sequences * blocks_of(g.longest, 128);
  constexpr std::size_t kBytes = Ring<kHead>::kSharedBytes;
  allow_shared_memory(reinterpret_cast<const void*>(&attention_forward_kernel<kHead>), kBytes);
  attention_forward_kernel<kHead>
      <<<static_cast<unsigned>(std::min<std::int64_t>(items, multiprocessors())), kBlockThreads, kBytes, stream>>>(
          qkv, g, {scale, static_cast<float>(static_cast<double>(scale) * M_LOG2E)});
}

}  // namespace

bool attention_forward_serves(const AttentionRows& g) {
  const std::int64_t width = std::int64_t{g.heads + 2 * g.kv_heads} * g.head_size;
  return (g.head_size == 64 || g.head_size == 128) && is_hopper() && can_map(g.qkv, width) &&
         std::int64_t{g.heads} * g.sequences * blocks_of(g.longest, 128) < (std::int64_t{1} << 30);
}

void attention_forward(const AttentionRows& g, cudaStream_t stream) {
  if (g.rows == 0) return;
  if (g.head_size == 64) {
    launch<64>(g, stream);
  } else {
    launch<128>(g, stream);
  }
}

}  // namespace troupe::cuda
