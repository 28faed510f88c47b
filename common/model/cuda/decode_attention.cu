#include "common/model/cuda/decode_attention.h"

#include <cuda_bf16.h>

#include <cmath>

namespace troupe::cuda {
namespace {

constexpr int kTile = 16;  // query rows of a matrix instruction; the heads of a group fill the first of them
constexpr float kMinusInfinity = -INFINITY;

__device__ __forceinline__ void copy16(void* shared, const void* global) {
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(global));
}
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;"); }
template <int Pending>
__device__ __forceinline__ void wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending));
  __syncwarp();
}

__device__ __forceinline__ void load_matrices(unsigned (&r)[4], const Bf16* row) {
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
}
__device__ __forceinline__ void load_transposed(unsigned (&r)[4], const Bf16* row) {
  const auto at = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at));
}

/// c += a · b for a 16 x 8 tile and 16 inner elements.
__device__ __forceinline__ void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ unsigned pack(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const unsigned*>(&both);
}

/// Where chunk `chunk` (8 elements) of key `key` lies in a shared tile: chunks are exchanged so that eight neighbouring keys' lie
/// in different banks.
template <int HeadSize>
__device__ __forceinline__ int place(int key, int chunk) {
  constexpr int kChunks = HeadSize / 8;
  const int mixed = kChunks >= 8 ? chunk ^ (key & 7) : chunk ^ ((key >> 1) & (kChunks - 1));
  return key * HeadSize + mixed * 8;
}

/// The running maximum and sum of one query row's scores, as FlashAttention-2 keeps them: the sum is this thread's share.
struct Running {
  float max = kMinusInfinity;
  float sum = 0;
};

/// Makes the scores of one query row (elements `first`, `first + 1` of every tile) exponentials; returns the factor for what was
/// added up before.
template <int Tiles>
__device__ __forceinline__ float soften(float (&scores)[Tiles][4], int first, float scale, Running& running) {
  float top = running.max;
#pragma unroll
  for (int n = 0; n < Tiles; ++n) top = fmaxf(top, fmaxf(scores[n][first], scores[n][first + 1]));
  top = fmaxf(top, __shfl_xor_sync(0xffffffffU, top, 2));
  top = fmaxf(top, __shfl_xor_sync(0xffffffffU, top, 1));
  const float base = top == kMinusInfinity ? 0.0F : top;
  const float rescale = exp2f(__fmul_rn(__fsub_rn(running.max, base), scale)), scaled = __fmul_rn(base, scale);
  float sum = __fmul_rn(running.sum, rescale);
#pragma unroll
  for (int n = 0; n < Tiles; ++n) {
#pragma unroll
    for (int i = first; i < first + 2; ++i) {
      scores[n][i] = exp2f(__fsub_rn(__fmul_rn(scores[n][i], scale), scaled));
      sum = __fadd_rn(sum, scores[n][i]);
    }
  }
  running.max = top;
  running.sum = sum;
  return rescale;
}

template <int HeadSize, int Keys>
class Decode {
 public:
  __device__ Decode(const DecodeRows& r, Bf16* shared) : r_(r), shared_(shared) {
    row_ = blockIdx.x / r.kv_heads;
    kv_head_ = static_cast<int>(blockIdx.x % r.kv_heads);
    length_ = r.lengths[row_];
    shared_tokens_ = r.shared_tokens[row_];
    table_ = r.pages + row_ * r.page_stride;
  }

  __device__ void run(float scale) {
    if (length_ == 0) return;
    const int group = r_.heads / r_.kv_heads, lane = static_cast<int>(threadIdx.x);
    const std::int64_t width = static_cast<std::int64_t>(r_.heads + 2 * r_.kv_heads) * HeadSize;
    load_queries(r_.qkv + row_ * width + static_cast<std::int64_t>(kv_head_) * group * HeadSize, group);

    const int last = (length_ - 1) / Keys;
    fetch(r_.keys, last, keys(0));
    fetch(r_.values, last, values(0));
    int buffer = 0;
    for (int block = last; block >= 0; --block, buffer ^= 1) {
      if (block > 0) {
        fetch(r_.keys, block - 1, keys(buffer ^ 1));
        fetch(r_.values, block - 1, values(buffer ^ 1));
      } else {
        commit();
        commit();
      }
      wait<3>();
      score(keys(buffer), block, block == last);
      rescale(soften(scores_, 0, scale, low_), group > 8 ? soften(scores_, 2, scale, high_) : 1.0F);
      wait<2>();
      add_values(values(buffer), group > 8);
      __syncwarp();
    }
    store(r_.attended + row_ * r_.heads * HeadSize + static_cast<std::int64_t>(kv_head_) * group * HeadSize, group, lane);
  }

 private:
  static constexpr int kTiles = Keys / 8, kSteps = HeadSize / 16, kOutTiles = HeadSize / 8, kTileSize = Keys * HeadSize;

  __device__ Bf16* keys(int buffer) const { return shared_ + buffer * kTileSize; }
  __device__ Bf16* values(int buffer) const { return shared_ + (2 + buffer) * kTileSize; }

  __device__ void load_queries(const Bf16* queries, int group) {
    const int low = static_cast<int>(threadIdx.x) / 4, column = static_cast<int>(threadIdx.x) % 4 * 2;
    const auto pair = [&](int head, int element) {
      return head < group ? *reinterpret_cast<const unsigned*>(queries + head * HeadSize + element) : 0U;
    };
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      queries_[k][0] = pair(low, 16 * k + column);
      queries_[k][1] = pair(low + 8, 16 * k + column);
      queries_[k][2] = pair(low, 16 * k + column + 8);
      queries_[k][3] = pair(low + 8, 16 * k + column + 8);
    }
  }

  /// Begins to copy a block of keys or values; those behind the end are the last one again, and masked later.
  __device__ void fetch(const Bf16* pages, int block, Bf16* to) {
    constexpr int kChunks = HeadSize / 8, kRows = 32 / kChunks;
    const int chunk = static_cast<int>(threadIdx.x) % kChunks, shared_pages = (shared_tokens_ + static_cast<int>(kPageTokens) - 1) / static_cast<int>(kPageTokens);
#pragma unroll 8
    for (int key = static_cast<int>(threadIdx.x) / kChunks; key < Keys; key += kRows) {
      const int position = min(block * Keys + key, length_ - 1);
      const int own = position - shared_tokens_, index = own < 0 ? position : own;
      const int page = table_[(own < 0 ? 0 : shared_pages) + index / static_cast<int>(kPageTokens)];
      const Bf16* from =
          pages + ((static_cast<std::int64_t>(page) * r_.kv_heads + kv_head_) * kPageTokens + index % static_cast<int>(kPageTokens)) * HeadSize;
      copy16(to + place<HeadSize>(key, chunk), from + chunk * 8);
    }
    commit();
  }

  __device__ void score(const Bf16* tile, int block, bool masked) {
    const int lane = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores_[n][i] = 0;
#pragma unroll
      for (int k = 0; k < kSteps; k += 2) {
        unsigned b[4];
        load_matrices(b, tile + place<HeadSize>(8 * n + lane % 8, 2 * k + lane / 8));
        multiply_add(scores_[n], queries_[k], b[0], b[1]);
        multiply_add(scores_[n], queries_[k + 1], b[2], b[3]);
      }
      if (masked) {
        const int position = block * Keys + 8 * n + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (position + i % 2 >= length_) scores_[n][i] = kMinusInfinity;
        }
      }
    }
  }

  __device__ void rescale(float low, float high) {
#pragma unroll
    for (int n = 0; n < kOutTiles; ++n) {
      out_[n][0] = __fmul_rn(out_[n][0], low);
      out_[n][1] = __fmul_rn(out_[n][1], low);
      out_[n][2] = __fmul_rn(out_[n][2], high);
      out_[n][3] = __fmul_rn(out_[n][3], high);
    }
  }

  __device__ void add_values(const Bf16* tile, bool two) {
    const int lane = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int k = 0; k < Keys / 16; ++k) {
      const float(&left)[4] = scores_[2 * k];
      const float(&right)[4] = scores_[2 * k + 1];
      const unsigned a[4] = {pack(left[0], left[1]), two ? pack(left[2], left[3]) : 0U, pack(right[0], right[1]),
                             two ? pack(right[2], right[3]) : 0U};
#pragma unroll
      for (int n = 0; n < kOutTiles; n += 2) {
        unsigned b[4];
        load_transposed(b, tile + place<HeadSize>(16 * k + lane / 8 % 2 * 8 + lane % 8, n + lane / 16));
        multiply_add(out_[n], a, b[0], b[1]);
        multiply_add(out_[n + 1], a, b[2], b[3]);
      }
    }
  }

  __device__ void store(Bf16* attended, int group, int lane) {
    const auto whole = [](float sum) {
      sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffU, sum, 2));
      sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffU, sum, 1));
      return sum == 0 || sum != sum ? 1.0F : __fdiv_rn(1.0F, sum);
    };
    const float low = whole(low_.sum), high = whole(high_.sum);
    const int head = lane / 4, column = lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < kOutTiles; ++n) {
      Bf16* const to = attended + 8 * n + column;
      if (head < group) *reinterpret_cast<unsigned*>(to + head * HeadSize) = pack(__fmul_rn(out_[n][0], low), __fmul_rn(out_[n][1], low));
      if (head + 8 < group) {
        *reinterpret_cast<unsigned*>(to + (head + 8) * HeadSize) = pack(__fmul_rn(out_[n][2], high), __fmul_rn(out_[n][3], high));
      }
    }
  }

  const DecodeRows& r_;
  Bf16* const shared_;
  std::int64_t row_;
  int kv_head_, length_, shared_tokens_;
  const std::int32_t* table_;
  unsigned queries_[kSteps][4];
  float scores_[kTiles][4];
  float out_[kOutTiles][4] = {};
  Running low_, high_;
};

template <int HeadSize, int Keys>
__global__ void __launch_bounds__(32) decode_kernel(const __grid_constant__ DecodeRows rows, float scale) {
  extern __shared__ __align__(128) Bf16 shared[];
  Decode<HeadSize, Keys>(rows, shared).run(scale);
}

template <int HeadSize, int Keys>
void launch(const DecodeRows& rows, cudaStream_t stream) {
  constexpr int kBytes = 4 * Keys * HeadSize * static_cast<int>(sizeof(Bf16));
  static const cudaError_t allowed =
      cudaFuncSetAttribute(decode_kernel<HeadSize, Keys>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  static_cast<void>(allowed);  // a refusal shows as the launch's error
  // The softmax's scale and log2(e) as FlashAttention-2 rounds them.
  const auto scale = static_cast<float>(static_cast<double>(static_cast<float>(1.0 / std::sqrt(static_cast<double>(HeadSize)))) * M_LOG2E);
  decode_kernel<HeadSize, Keys><<<static_cast<unsigned>(rows.rows * rows.kv_heads), 32, kBytes, stream>>>(rows, scale);
}

}  // namespace

bool decode_attention_serves(std::int64_t heads, std::int64_t kv_heads, std::int64_t head_size) {
  return heads / kv_heads <= kTile && (head_size == 32 || head_size == 64 || head_size == 128);
}

void decode_attention(const DecodeRows& rows, cudaStream_t stream) {
  if (rows.rows == 0) return;
  // The blocks of keys that FlashAttention-2 takes for these head sizes.
  if (rows.head_size == 32) launch<32, 128>(rows, stream);
  if (rows.head_size == 64) launch<64, 128>(rows, stream);
  if (rows.head_size == 128) launch<128, 64>(rows, stream);
}

}  // namespace troupe::cuda
