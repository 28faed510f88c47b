#include "common/model/cuda/decode_attention.h"

#include <cmath>

#include "common/model/cuda/decode_tiles.cuh"
#include "common/model/cuda/finish_head.cuh"
#include "common/model/cuda/launch_early.cuh"
#include "common/model/cuda/matrix_instructions.cuh"

namespace troupe::cuda {
namespace {

constexpr int kTile = 16;  // query rows of a matrix instruction; the heads of a group fill the first of them
constexpr float kMinusInfinity = -INFINITY;

/// The attention of up to `Heads` (8 or 16) query heads of one row that share a key head. In the product with the keys each warp
/// takes a quarter of the block's keys, in that with the values a quarter of the head's elements. Lane 4 r + q of a warp has query
/// head r (and r + 8), as the matrix instructions lay it out.
template <int HeadSize, int Keys, int Heads>
class Decode {
 public:
  __device__ Decode(const DecodeRows& r, DecodeShared<HeadSize, Keys, Heads>& shared)
      : r_(r),
        shared_(shared),
        row_(blockIdx.x / r.qkv.kv_heads),
        kv_head_(static_cast<int>(blockIdx.x % r.qkv.kv_heads)),
        length_(r.lengths[row_]),
        shared_tokens_(r.shared_tokens[row_]),
        table_(r.pages + row_ * r.page_stride),
        warp_(static_cast<int>(threadIdx.x) / 32),
        lane_(static_cast<int>(threadIdx.x) % 32) {}

  __device__ void run(float scale) {
    if (length_ == 0) return wait_for_earlier();
    const int group = r_.qkv.heads / r_.qkv.kv_heads;
    const int last = (length_ - 1) / Keys;
    // Of positions before their own the rows' keys and values are there since earlier steps.
    if (r_.unfinished) fetch_first(last);
    const Turn turn = turn_of(group);
    wait_for_earlier();
    if (r_.unfinished) {
      finish(group, turn);
    } else {
      fetch_first(last);
      copy_queries(group);
    }
    __syncthreads();
    load_queries();

    int buffer = 0;
    for (int block = last; block >= 0; --block, buffer ^= 1) {
      const bool first = block == last;
      if (first) wait_for_copies<2>();
      else wait_for_copies<0>();
      if (first && r_.unfinished) take_own(shared_.own_key, block, shared_.keys[buffer]);
      __syncthreads();  // the keys are here; of the block before nothing is needed any more
      if (!first) {
        fetch(r_.qkv.values, block, shared_.values);
        fetch_keys_before(block, buffer);
      }
      score(shared_.keys[buffer], block, first);
      share_maxima();
      __syncthreads();
      soften(scale);
      wait_for_copies<1>();
      if (first && r_.unfinished) take_own(shared_.own_value, block, shared_.values);
      __syncthreads();  // the weights are written, the values here
      add_values(shared_.values);
      if (warp_ == 0) add_exponentials();
    }
    store(r_.attended + row_ * r_.qkv.heads * HeadSize + static_cast<std::int64_t>(kv_head_) * group * HeadSize, group);
  }

 private:
  static constexpr int kHalves = Heads / 8;
  static constexpr int kSteps = HeadSize / 16;
  static constexpr int kTiles = Keys / 8 / kDecodeWarps;         // of keys, of this warp
  static constexpr int kOutTiles = HeadSize / 8 / kDecodeWarps;  // of the head's elements, of this warp

  __device__ Bf16* head(int index) const {
    return r_.qkv.qkv + (row_ * (r_.qkv.heads + 2 * r_.qkv.kv_heads) + index) * HeadSize;
  }

  static constexpr int kRounds = (Heads + 2 + kDecodeWarps - 1) / kDecodeWarps, kHalf = HeadSize / 2, kPairs = (kHalf + 31) / 32;
  /// The angles of the pairs that a lane turns.
  struct Turn {
    float cosine[kPairs], sine[kPairs];
  };

  /// Also brings the heads' weights near.
  __device__ Turn turn_of(int group) const {
    Turn turn{};
    if (!r_.unfinished) return turn;
    const float* const cosines = r_.qkv.rope + static_cast<std::int64_t>(r_.qkv.positions[row_]) * HeadSize;
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      const int i = lane_ + 32 * p;
      if (i >= kHalf) continue;
      turn.cosine[p] = cosines[i];
      turn.sine[p] = cosines[kHalf + i];
    }
    for (int item = warp_; item < group + 2; item += kDecodeWarps) {
      const HeadPlaces places = places_of(r_.qkv, row_, head_of(item, group));
      if (places.bias != nullptr) prefetch(places.bias + 2 * lane_ % HeadSize);
      if (places.norm != nullptr) prefetch(places.norm + 2 * lane_ % HeadSize);
    }
    return turn;
  }
  static __device__ void prefetch(const Bf16* from) { asm volatile("prefetch.global.L2 [%0];" ::"l"(from)); }

  /// Bias, norms and rotation of the heads that this block works with: the queries to shared memory, the key and the value to the cache.
  /// A warp takes every fourth of them, and loads all before it works on the first.
  __device__ void finish(int group, const Turn& turn) {
    HeadPair pairs[kRounds][kPairs];
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      const int i = lane_ + 32 * p;
#pragma unroll
      for (int round = 0; round < kRounds; ++round) {
        const int item = warp_ + kDecodeWarps * round;
        if (item >= group + 2 || i >= kHalf) continue;
        const Bf16* const x = head(head_of(item, group));
        pairs[round][p] = {to_float(x[i]), to_float(x[i + kHalf])};
      }
    }
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      const int item = warp_ + kDecodeWarps * round;
      if (item >= group + 2) continue;
      const HeadPlaces places = places_of(r_.qkv, row_, head_of(item, group));
      float inverse = 1.0F;
      if (places.norm != nullptr) {
        float squares = 0;
#pragma unroll
        for (int p = 0; p < kPairs; ++p) squares = __fmaf_rn(pairs[round][p].low, pairs[round][p].low, squares);
#pragma unroll
        for (int p = 0; p < kPairs; ++p) squares = __fmaf_rn(pairs[round][p].high, pairs[round][p].high, squares);
        inverse = inverse_rms_of(squares, r_.qkv);
      }
#pragma unroll
      for (int p = 0; p < kPairs; ++p) {
        const int i = lane_ + 32 * p;
        if (i >= kHalf) continue;
        const HeadPair pair = finished(pairs[round][p], i, kHalf, places, inverse, turn.cosine[p], turn.sine[p]);
        Bf16* const to = item < group ? shared_.queries + item * HeadSize : places.cache;
        to[i] = to_bf16(pair.low);
        to[i + kHalf] = to_bf16(pair.high);
        if (item >= group) {
          Bf16* const own = item == group ? shared_.own_key : shared_.own_value;
          own[i] = to[i];
          own[i + kHalf] = to[i + kHalf];
        }
      }
    }
  }

  /// The head of the row that is `item` of this block's: its queries, its key, its value.
  __device__ int head_of(int item, int group) const {
    return item < group ? kv_head_ * group + item : r_.qkv.heads + (item - group) * r_.qkv.kv_heads + kv_head_;
  }

  __device__ void copy_queries(int group) {
    const Bf16* const queries = head(kv_head_ * group);
    for (int i = static_cast<int>(threadIdx.x) * 8; i < group * HeadSize; i += kDecodeThreads * 8) {
      *reinterpret_cast<uint4*>(shared_.queries + i) = *reinterpret_cast<const uint4*>(queries + i);
    }
  }

  /// The row's own key (or value), which was not there yet when its block was fetched, at its place and behind it, where the values
  /// must be numbers; by the threads that had fetched those places.
  __device__ void take_own(const Bf16* own, int block, Bf16* to) {
    constexpr int kChunks = HeadSize / 8, kRows = kDecodeThreads / kChunks;
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
    for (int key = static_cast<int>(threadIdx.x) / kChunks; key < Keys; key += kRows) {
      if (block * Keys + key < length_ - 1) continue;
      *reinterpret_cast<uint4*>(to + place<HeadSize>(key, chunk)) = *reinterpret_cast<const uint4*>(own + chunk * 8);
    }
  }

  /// Of query heads that the group does not have the rows hold anything; their results are stored nowhere.
  __device__ void load_queries() {
    const Bf16* const queries = shared_.queries + lane_ / 4 * HeadSize + lane_ % 4 * 2;
    const auto pair = [&](int from_head, int element) { return *reinterpret_cast<const unsigned*>(queries + from_head * HeadSize + element); };
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      queries_[k][0] = pair(0, 16 * k);
      queries_[k][1] = kHalves == 2 ? pair(8, 16 * k) : 0U;
      queries_[k][2] = pair(0, 16 * k + 8);
      queries_[k][3] = kHalves == 2 ? pair(8, 16 * k + 8) : 0U;
    }
  }

  /// What the first round of the loop needs.
  __device__ void fetch_first(int block) {
    fetch(r_.qkv.keys, block, shared_.keys[0]);
    fetch(r_.qkv.values, block, shared_.values);
    fetch_keys_before(block, 0);
  }

  __device__ void fetch_keys_before(int block, int buffer) {
    if (block > 0) fetch(r_.qkv.keys, block - 1, shared_.keys[buffer ^ 1]);
    else commit_copies();
  }

  /// Begins to copy a block of keys or values; those behind the end are the last one again, and masked later.
  __device__ void fetch(const Bf16* pages, int block, Bf16* to) {
    constexpr int kChunks = HeadSize / 8, kRows = kDecodeThreads / kChunks, kPage = static_cast<int>(kPageTokens);
    const int chunk = static_cast<int>(threadIdx.x) % kChunks, shared_pages = (shared_tokens_ + kPage - 1) / kPage;
#pragma unroll
    for (int i = 0; i < Keys / kRows; ++i) {
      const int key = static_cast<int>(threadIdx.x) / kChunks + i * kRows;
      const int position = min(block * Keys + key, length_ - 1);
      const int own = position - shared_tokens_, index = own < 0 ? position : own;
      const int page = table_[(own < 0 ? 0 : shared_pages) + index / kPage];
      const Bf16* from = pages + ((static_cast<std::int64_t>(page) * r_.qkv.kv_heads + kv_head_) * kPage + index % kPage) * HeadSize;
      copy16(to + place<HeadSize>(key, chunk), from + chunk * 8);
    }
    commit_copies();
  }

  __device__ void score(const Bf16* tile, int block, bool masked) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const int first = 8 * (warp_ * kTiles + n);
#pragma unroll
      for (int i = 0; i < 4; ++i) scores_[n][i] = 0;
#pragma unroll
      for (int k = 0; k < kSteps; k += 2) {
        unsigned b[4];
        load_matrices(b, tile + place<HeadSize>(first + lane_ % 8, 2 * k + lane_ / 8));
        multiply_add(scores_[n], queries_[k], b[0], b[1]);
        multiply_add(scores_[n], queries_[k + 1], b[2], b[3]);
      }
      if (masked) {
        const int position = block * Keys + first + lane_ % 4 * 2;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (position + i % 2 >= length_) scores_[n][i] = kMinusInfinity;
        }
      }
    }
  }

  __device__ void share_maxima() {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      float top = kMinusInfinity;
#pragma unroll
      for (int n = 0; n < kTiles; ++n) top = fmaxf(top, fmaxf(scores_[n][2 * half], scores_[n][2 * half + 1]));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffU, top, 2));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffU, top, 1));
      if (lane_ % 4 == 0) shared_.maxima[warp_][lane_ / 4 + 8 * half] = top;
    }
  }

  /// Turns the scores to weights relative to the largest so far, and what was added up before to that scale.
  __device__ void soften(float scale) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int head = lane_ / 4 + 8 * half;
      float top = max_[half];
      for (int warp = 0; warp < kDecodeWarps; ++warp) top = fmaxf(top, shared_.maxima[warp][head]);
      const float base = top == kMinusInfinity ? 0.0F : top, scaled = __fmul_rn(base, scale);
      rescale_[half] = exp2f(__fmul_rn(__fsub_rn(max_[half], base), scale));
      max_[half] = top;
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        const int key = 8 * (warp_ * kTiles + n) + lane_ % 4 * 2;
        const float left = exp2f(__fsub_rn(__fmul_rn(scores_[n][2 * half], scale), scaled));
        const float right = exp2f(__fsub_rn(__fmul_rn(scores_[n][2 * half + 1], scale), scaled));
        *reinterpret_cast<float2*>(&shared_.exponentials[head][key]) = {left, right};
        *reinterpret_cast<unsigned*>(&shared_.weights[place<Keys>(head, key / 8) + key % 8]) = pack_two(left, right);
      }
#pragma unroll
      for (int n = 0; n < kOutTiles; ++n) {
        out_[n][2 * half] = __fmul_rn(out_[n][2 * half], rescale_[half]);
        out_[n][2 * half + 1] = __fmul_rn(out_[n][2 * half + 1], rescale_[half]);
      }
    }
  }

  __device__ void add_values(const Bf16* tile) {
#pragma unroll
    for (int k = 0; k < Keys / 16; k += 2) {
      unsigned low[4], high[4] = {};  // of query heads 0-7 and 8-15, for two steps
      load_matrices(low, &shared_.weights[place<Keys>(lane_ % 8, 2 * k + lane_ / 8)]);
      if (kHalves == 2) load_matrices(high, &shared_.weights[place<Keys>(8 + lane_ % 8, 2 * k + lane_ / 8)]);
      const unsigned first[4] = {low[0], high[0], low[1], high[1]}, second[4] = {low[2], high[2], low[3], high[3]};
#pragma unroll
      for (int n = 0; n < kOutTiles; ++n) {
        unsigned b[4];
        load_transposed(b, tile + place<HeadSize>(16 * k + lane_, warp_ * kOutTiles + n));
        multiply_add(out_[n], first, b[0], b[1]);
        multiply_add(out_[n], second, b[2], b[3]);
      }
    }
  }

  /// Each lane adds up the keys that FlashAttention-2 gives its thread, in that order.
  __device__ void add_exponentials() {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const float* const row = &shared_.exponentials[lane_ / 4 + 8 * half][lane_ % 4 * 2];
      float sum = 0;
#pragma unroll
      for (int n = 0; n < Keys / 8; ++n) {
        const float2 two = *reinterpret_cast<const float2*>(row + 8 * n);
        sum = __fadd_rn(n == 0 ? __fmaf_rn(sum_[half], rescale_[half], two.x) : __fadd_rn(sum, two.x), two.y);
      }
      sum_[half] = sum;
    }
  }

  __device__ void store(Bf16* attended, int group) {
    if (warp_ == 0) {
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
        float sum = __fadd_rn(sum_[half], __shfl_xor_sync(0xffffffffU, sum_[half], 2));
        sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffU, sum, 1));
        if (lane_ % 4 == 0) shared_.maxima[0][lane_ / 4 + 8 * half] = sum == 0 || sum != sum ? 1.0F : __fdiv_rn(1.0F, sum);
      }
    }
    __syncthreads();
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int head = lane_ / 4 + 8 * half;
      const float inverse = shared_.maxima[0][head];
      if (head >= group) continue;
#pragma unroll
      for (int n = 0; n < kOutTiles; ++n) {
        const int element = 8 * (warp_ * kOutTiles + n) + lane_ % 4 * 2;
        *reinterpret_cast<unsigned*>(attended + head * HeadSize + element) =
            pack_two(__fmul_rn(out_[n][2 * half], inverse), __fmul_rn(out_[n][2 * half + 1], inverse));
      }
    }
  }

  const DecodeRows& r_;
  DecodeShared<HeadSize, Keys, Heads>& shared_;
  const std::int64_t row_;
  const int kv_head_, length_, shared_tokens_;
  const std::int32_t* const table_;
  const int warp_, lane_;
  unsigned queries_[kSteps][4];
  float scores_[kTiles][4];
  float out_[kOutTiles][4] = {};
  float max_[2] = {kMinusInfinity, kMinusInfinity}, rescale_[2] = {}, sum_[2] = {};
};

template <int HeadSize, int Keys, int Heads>
__global__ void __launch_bounds__(kDecodeThreads, Heads == 8 ? 4 : 3) decode_kernel(const __grid_constant__ DecodeRows rows, float scale) {
  extern __shared__ __align__(128) unsigned char memory[];
  let_next_begin();
  Decode<HeadSize, Keys, Heads>(rows, *reinterpret_cast<DecodeShared<HeadSize, Keys, Heads>*>(memory)).run(scale);
}

template <int HeadSize, int Keys, int Heads>
void launch(const DecodeRows& rows, cudaStream_t stream) {
  constexpr int kBytes = sizeof(DecodeShared<HeadSize, Keys, Heads>);
  // Each GPU is asked on its own; a refusal shows as the launch's error.
  static_cast<void>(cudaFuncSetAttribute(decode_kernel<HeadSize, Keys, Heads>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  // The softmax's scale and log2(e) as FlashAttention-2 rounds them.
  const auto scale = static_cast<float>(static_cast<double>(static_cast<float>(1.0 / std::sqrt(static_cast<double>(HeadSize)))) * M_LOG2E);
  const dim3 blocks(static_cast<unsigned>(rows.qkv.rows * rows.qkv.kv_heads));
  launch_early(decode_kernel<HeadSize, Keys, Heads>, blocks, kDecodeThreads, kBytes, stream, rows, scale);
}

/// Keys are those of a block in FlashAttention-2 for these head sizes.
template <int HeadSize, int Keys>
void launch_group(const DecodeRows& rows, cudaStream_t stream) {
  if (rows.qkv.heads / rows.qkv.kv_heads <= 8) launch<HeadSize, Keys, 8>(rows, stream);
  else launch<HeadSize, Keys, 16>(rows, stream);
}

}  // namespace

bool decode_attention_serves(std::int64_t heads, std::int64_t kv_heads, std::int64_t head_size) {
  return heads / kv_heads <= kTile && (head_size == 32 || head_size == 64 || head_size == 128);
}

void decode_attention(const DecodeRows& rows, cudaStream_t stream) {
  if (rows.qkv.rows == 0) return;
  if (rows.qkv.head_size == 32) launch_group<32, 128>(rows, stream);
  if (rows.qkv.head_size == 64) launch_group<64, 128>(rows, stream);
  if (rows.qkv.head_size == 128) launch_group<128, 64>(rows, stream);
}

}  // namespace troupe::cuda
