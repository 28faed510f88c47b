#include "common/model/cuda/forward_kernels.h"

#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/finish_head.cuh"
#include "common/model/cuda/launch_early.cuh"
#include "common/model/cuda/rms_norm.cuh"
#include "common/model/cuda/swiglu.cuh"

namespace troupe::cuda {
namespace {

constexpr int kThreads = 256;
static_assert(kThreads == kNormThreads);

__global__ void embed_kernel(const Bf16* table, const std::int64_t* ids, std::int64_t hidden, float* residual) {
  let_next_begin();
  wait_for_earlier();
  const Bf16* from = table + ids[blockIdx.x] * hidden;
  float* to = residual + static_cast<std::int64_t>(blockIdx.x) * hidden;
  for (std::int64_t i = threadIdx.x * 8; i < hidden; i += kThreads * 8) {
    const Eight x = load8(from + i);
#pragma unroll
    for (int j = 0; j < 8; ++j) to[i + j] = to_float(x.v[j]);
  }
}

/// One block a row. A thread keeps the first kKept of its parts of a row and reads again those that it wrote of a longer one.
__global__ void __launch_bounds__(kThreads) add_rms_norm_kernel(const float* residual, const Bf16* delta, const Bf16* weight, float eps,
                                                                int hidden, float* sum, Bf16* normed_rows, float* inverse_rms) {
  constexpr int kKept = 4, kStep = kThreads * 4;
  __shared__ float warps[kNormWarps];
  let_next_begin();
  wait_for_earlier();
  const std::int64_t row = blockIdx.x, at = row * hidden;
  const bool writes = delta != nullptr || sum != residual;
  const int first = static_cast<int>(threadIdx.x) * 4;
  float squares = 0;
  const auto add = [&](int i) {
    float4 x = *reinterpret_cast<const float4*>(residual + at + i);
    if (delta != nullptr) {
      const ushort4 d = *reinterpret_cast<const ushort4*>(delta + at + i);
      x.x += to_float({d.x});
      x.y += to_float({d.y});
      x.z += to_float({d.z});
      x.w += to_float({d.w});
    }
    if (writes) *reinterpret_cast<float4*>(sum + at + i) = x;
    squares = add_squares(x, squares);
    return x;
  };
  float4 kept[kKept];
#pragma unroll
  for (int part = 0; part < kKept; ++part) {
    if (first + part * kStep < hidden) kept[part] = add(first + part * kStep);
  }
  for (int i = first + kKept * kStep; i < hidden; i += kStep) add(i);
  squares = sum_of_warp(squares);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = squares;
  __syncthreads();
  const float inverse = inverse_rms_of_row(warps, hidden, eps);
  if (inverse_rms != nullptr && threadIdx.x == 0) inverse_rms[row] = inverse;
  const auto norm = [&](int i, const float4& x) {
    *reinterpret_cast<Four*>(normed_rows + at + i) = normed(x, inverse, load4(weight + i));
  };
#pragma unroll
  for (int part = 0; part < kKept; ++part) {
    if (first + part * kStep < hidden) norm(first + part * kStep, kept[part]);
  }
  for (int i = first + kKept * kStep; i < hidden; i += kStep) norm(i, *reinterpret_cast<const float4*>(sum + at + i));
}

/// One warp a head of a row; lane i has the pairs i, i + 32, ….
__global__ void __launch_bounds__(kThreads) finish_qkv_kernel(QkvRows r) {
  const int all = r.heads + 2 * r.kv_heads, turned = r.heads + r.kv_heads, half = r.head_size / 2, lane = static_cast<int>(threadIdx.x % 32);
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  if (item >= r.rows * all) return;
  const std::int64_t row = item / all;
  const int head = static_cast<int>(item % all);
  Bf16* const x = r.qkv + item * r.head_size;
  const HeadPlaces places = places_of(r, row, head);
  float inverse = 1.0F;
  if (places.norm != nullptr) {
    float squares = 0;
    for (int i = lane; i < r.head_size; i += 32) {
      squares = __fmaf_rn(to_float(x[i]), to_float(x[i]), squares);
      if (r.unnormed != nullptr) r.unnormed[(row * turned + head) * r.head_size + i] = x[i];
    }
    inverse = inverse_rms_of(squares, r);
  }
  const float* const cosines = r.rope + static_cast<std::int64_t>(r.positions[row]) * r.head_size;
  for (int i = lane; i < half; i += 32) {
    const HeadPair pair = finished({to_float(x[i]), to_float(x[i + half])}, i, half, places, inverse, cosines[i], cosines[half + i]);
    x[i] = to_bf16(pair.low);
    x[i + half] = to_bf16(pair.high);
    if (places.cache != nullptr) {
      places.cache[i] = x[i];
      places.cache[i + half] = x[i + half];
    }
  }
}

/// The same where no norm needs a whole head at once: a thread has eight pairs.
__global__ void __launch_bounds__(kThreads) finish_unnormed_qkv_kernel(QkvRows r) {
  const unsigned all = static_cast<unsigned>(r.heads + 2 * r.kv_heads), half = static_cast<unsigned>(r.head_size) / 2, parts = half / 8;
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (thread >= r.rows * (all * parts)) return;
  const std::int64_t row = thread / (all * parts);
  const unsigned within = static_cast<unsigned>(thread - row * (all * parts));
  const int head = static_cast<int>(within / parts), first = static_cast<int>(within % parts) * 8;
  const HeadPlaces places = places_of(r, row, head);
  if (!places.turns && places.bias == nullptr && places.cache == nullptr) return;
  Bf16* const x = r.qkv + (row * all + head) * r.head_size + first;
  const float* const cosines = r.rope + static_cast<std::int64_t>(r.positions[row]) * r.head_size + first;
  Eight low = load8(x), high = load8(x + half);
#pragma unroll
  for (int part = 0; part < 2; ++part) {
    const FourFloats cosine = load4(cosines + 4 * part), sine = load4(cosines + half + 4 * part);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int i = 4 * part + j;
      const HeadPair pair = finished({to_float(low.v[i]), to_float(high.v[i])}, first + i, static_cast<int>(half), places, 1.0F, cosine.v[j], sine.v[j]);
      low.v[i] = to_bf16(pair.low);
      high.v[i] = to_bf16(pair.high);
    }
  }
  *reinterpret_cast<Eight*>(x) = low;
  *reinterpret_cast<Eight*>(x + half) = high;
  if (places.cache == nullptr) return;
  *reinterpret_cast<Eight*>(places.cache + first) = low;
  *reinterpret_cast<Eight*>(places.cache + half + first) = high;
}

__global__ void __launch_bounds__(kThreads) swiglu_kernel(const Bf16* gate_up, std::int64_t count, std::int64_t inner, Bf16* activated) {
  let_next_begin();
  wait_for_earlier();
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
  if (i >= count) return;
  const std::int64_t row = i / inner, column = i % inner;
  const Eight gate = load8(gate_up + row * 2 * inner + column), up = load8(gate_up + (row * 2 + 1) * inner + column);
  *reinterpret_cast<Eight*>(activated + i) = activated_of(gate, up);
}

__global__ void __launch_bounds__(kThreads) gather_kernel(const Bf16* keys, const Bf16* values, const std::int32_t* slots, std::int64_t rows,
                                                          int kv_heads, int head_size, Bf16* keys_out, Bf16* values_out) {
  const int eights = kv_heads * head_size / 8;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= rows * eights) return;
  const std::int64_t row = i / eights;
  const int element = static_cast<int>(i % eights) * 8, head = element / head_size, slot = slots[row];
  const std::int64_t from =
      ((static_cast<std::int64_t>(slot / kPageTokens) * kv_heads + head) * kPageTokens + slot % kPageTokens) * head_size + element % head_size;
  const std::int64_t to = row * kv_heads * head_size + element;
  *reinterpret_cast<Eight*>(keys_out + to) = load8(keys + from);
  *reinterpret_cast<Eight*>(values_out + to) = load8(values + from);
}

}  // namespace

void embed(const Bf16* table, const std::int64_t* ids, std::int64_t rows, std::int64_t hidden, float* residual, cudaStream_t stream) {
  if (rows == 0) return;
  launch_early(embed_kernel, dim3(static_cast<unsigned>(rows)), kThreads, 0, stream, table, ids, hidden, residual);
}

void add_rms_norm(const float* residual, const Bf16* delta, const Bf16* weight, float eps, std::int64_t rows, std::int64_t hidden,
                  float* sum, Bf16* normed, float* inverse_rms, cudaStream_t stream) {
  if (rows == 0) return;
  add_rms_norm_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(residual, delta, weight, eps, static_cast<int>(hidden), sum,
                                                                             normed, inverse_rms);
}

void finish_qkv(const QkvRows& rows, cudaStream_t stream) {
  if (rows.rows == 0) return;
  const std::int64_t heads = rows.rows * (rows.heads + 2 * rows.kv_heads);
  if (rows.q_norm == nullptr && rows.head_size % 16 == 0) {
    finish_unnormed_qkv_kernel<<<blocks_of(heads * (rows.head_size / 16), kThreads), kThreads, 0, stream>>>(rows);
    return;
  }
  finish_qkv_kernel<<<blocks_of(heads, kThreads / 32), kThreads, 0, stream>>>(rows);
}

void swiglu(const Bf16* gate_up, std::int64_t rows, std::int64_t inner, Bf16* activated, cudaStream_t stream) {
  if (rows == 0) return;
  launch_early(swiglu_kernel, dim3(blocks_of(rows * inner, kThreads * 8)), kThreads, 0, stream, gate_up, rows * inner, inner, activated);
}

void gather_positions(const Bf16* keys, const Bf16* values, const std::int32_t* slots, std::int64_t rows, std::int64_t kv_heads,
                      std::int64_t head_size, Bf16* keys_out, Bf16* values_out, cudaStream_t stream) {
  if (rows == 0) return;
  gather_kernel<<<blocks_of(rows * kv_heads * head_size / 8, kThreads), kThreads, 0, stream>>>(
      keys, values, slots, rows, static_cast<int>(kv_heads), static_cast<int>(head_size), keys_out, values_out);
}

}  // namespace troupe::cuda
