#include "common/model/cuda/backward_kernels.h"

#include <algorithm>

#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/swiglu.cuh"

namespace troupe::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr std::int64_t kNormRows = 16;    // rows of a part in the kernels that also sum over rows
constexpr std::int64_t kColumnRows = 1024;  // rows of a part in sum_columns_kernel

/// part p of `out` = the sum of rows [p * part_rows, …) of `from`; one part may be added to what is there instead. One block does
/// 32 columns of a part: lane x's column, rows y, y + 32, … by warp y, then the warps in order.
template <typename T>
__global__ void __launch_bounds__(1024) sum_columns_kernel(const T* from, std::int64_t rows, std::int64_t width, std::int64_t part_rows,
                                                           float* out, bool add) {
  __shared__ float sums[32][33];
  const int x = static_cast<int>(threadIdx.x % 32), y = static_cast<int>(threadIdx.x / 32);
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * 32 + x, first = blockIdx.y * part_rows;
  const std::int64_t last = min(rows, first + part_rows);
  float sum = 0;
  if (column < width) {
    for (std::int64_t row = first + y; row < last; row += 32) {
      if constexpr (sizeof(T) == sizeof(float)) {
        sum += from[row * width + column];
      } else {
        sum += to_float(from[row * width + column]);
      }
    }
  }
  sums[y][x] = sum;
  __syncthreads();
  if (y > 0 || column >= width) return;
  float total = 0;
  for (int warp = 0; warp < 32; ++warp) total += sums[warp][x];
  float* const to = out + blockIdx.y * width + column;
  *to = add ? *to + total : total;
}

/// to += the sum of `rows` rows. `scratch` has a row for each part.
template <typename T>
void add_columns(const T* from, std::int64_t rows, std::int64_t width, float* scratch, float* to, cudaStream_t stream) {
  const std::int64_t parts = (rows + kColumnRows - 1) / kColumnRows;
  const unsigned columns = blocks_of(width, 32);
  if (parts <= 1) {
    sum_columns_kernel<T><<<columns, 1024, 0, stream>>>(from, rows, width, rows, to, true);
    return;
  }
  sum_columns_kernel<T><<<dim3(columns, static_cast<unsigned>(parts)), 1024, 0, stream>>>(from, rows, width, kColumnRows, scratch, false);
  sum_columns_kernel<float><<<columns, 1024, 0, stream>>>(scratch, parts, width, parts, to, true);
}

/// The sum over the block, in a fixed order, for every thread.
__device__ float block_sum(float x, float (&warps)[kWarps]) {
  x = sum_of_warp(x);
  __syncthreads();  // the last sum is read
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += warps[warp];
  return sum;
}

/// With n = x r, r = (mean(x²) + eps)^(-1/2), y = n w:  dx = r (w dy - n mean(w dy n)),  dw = dy n. One block takes kNormRows rows
/// in order; thread t has columns 4 (t + kThreads i). `partial` has the weight's gradient of each block.
template <int kVectors>
__global__ void __launch_bounds__(kThreads) rms_norm_backward_kernel(NormGradient g, float* partial) {
  __shared__ float warps[kWarps];
  float weight[kVectors][4], grad_weight[kVectors][4] = {};
  const auto column = [&](int i) { return 4 * (static_cast<int>(threadIdx.x) + i * kThreads); };
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (column(i) >= g.hidden) continue;
    const Four w = load4(g.weight + column(i));
#pragma unroll
    for (int j = 0; j < 4; ++j) weight[i][j] = to_float(w.v[j]);
  }
  const std::int64_t first = blockIdx.x * kNormRows, last = min(g.rows, first + kNormRows);
  for (std::int64_t row = first; row < last; ++row) {
    const std::int64_t start = row * g.hidden;
    const float inverse = g.inverse_rms[row];
    float dn[kVectors][4], n[kVectors][4], dot = 0;
    FourFloats before[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (column(i) >= g.hidden) continue;
      const Four dy = load4(g.grad_normed + start + column(i));
      const FourFloats x = load4(g.sum + start + column(i));
      before[i] = load4(g.grad_sum + start + column(i));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        n[i][j] = x.v[j] * inverse;
        const float grad = to_float(dy.v[j]);
        dn[i][j] = grad * weight[i][j];
        dot += dn[i][j] * n[i][j];
        grad_weight[i][j] += grad * n[i][j];
      }
    }
    const float mean = block_sum(dot, warps) / static_cast<float>(g.hidden);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (column(i) >= g.hidden) continue;
      FourFloats dx;
      Four rounded;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        dx.v[j] = before[i].v[j] + (dn[i][j] - n[i][j] * mean) * inverse;
        rounded.v[j] = to_bf16(dx.v[j]);
      }
      *reinterpret_cast<FourFloats*>(g.grad_sum + start + column(i)) = dx;
      *reinterpret_cast<Four*>(g.rounded + start + column(i)) = rounded;
    }
  }
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (column(i) >= g.hidden) continue;
    *reinterpret_cast<FourFloats*>(partial + static_cast<std::int64_t>(blockIdx.x) * g.hidden + column(i)) = {
        grad_weight[i][0], grad_weight[i][1], grad_weight[i][2], grad_weight[i][3]};
  }
}

/// One warp a head of a row; lane l has the pairs (l + 32 p, l + 32 p + head_size / 2). One block takes kNormRows rows; `partial` has
/// the gradient of q_norm's and k_norm's weights of each block, [2, head_size].
template <int kPairs>
__global__ void __launch_bounds__(kThreads) finish_qkv_backward_kernel(QkvGradient g, float* partial) {
  extern __shared__ float shared[];  // [kWarps, 2, head_size]
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32), half = g.head_size / 2;
  const int all = g.heads + 2 * g.kv_heads, turned = g.heads + g.kv_heads;
  const std::int64_t first = blockIdx.x * kNormRows, last = min(g.rows, first + kNormRows);
  float grad_weight[2][kPairs][2] = {};  // of q and k
  std::int64_t row = first;
  for (int head = warp; row < last; head += kWarps) {
    for (; head >= all; head -= all) ++row;
    if (row >= last) break;
    const bool query = head < g.heads, key = !query && head < turned, turn = (query || key) && g.rope != nullptr;
    const Bf16* const from = query ? g.grad_queries + row * g.query_stride + head * g.head_size
                             : key ? g.grad_keys + row * g.key_stride + (head - g.heads) * g.head_size
                                   : g.grad_values + row * g.key_stride + (head - turned) * g.head_size;
    Bf16* const to = g.grad_qkv + (row * all + head) * g.head_size;
    const float* const cosines = g.rope + static_cast<std::int64_t>(g.positions[row]) * g.head_size;
    const bool normed = (query || key) && g.unnormed != nullptr;
    const Bf16* const x = normed ? g.unnormed + (row * turned + head) * g.head_size : nullptr;
    const Bf16* const weight = query ? g.q_norm : g.k_norm;
    float grad[kPairs][2], value[kPairs][2], squares = 0;
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      const int i = lane + 32 * p;
      if (i >= half) continue;
      const float a = to_float(from[i]), b = to_float(from[i + half]);
      grad[p][0] = turn ? a * cosines[i] + b * cosines[half + i] : a;
      grad[p][1] = turn ? b * cosines[i] - a * cosines[half + i] : b;
      if (!normed) continue;
      value[p][0] = to_float(x[i]);
      value[p][1] = to_float(x[i + half]);
      squares += value[p][0] * value[p][0] + value[p][1] * value[p][1];
    }
    if (normed) {
      const float inverse = 1.0F / sqrtf(sum_of_warp(squares) / static_cast<float>(g.head_size) + g.eps);
      float dot = 0;
#pragma unroll
      for (int p = 0; p < kPairs; ++p) {
        const int i = lane + 32 * p;
        if (i >= half) continue;
#pragma unroll
        for (int s = 0; s < 2; ++s) {
          value[p][s] *= inverse;
          const float own = grad[p][s] * value[p][s];
          grad_weight[0][p][s] += query ? own : 0.0F;
          grad_weight[1][p][s] += query ? 0.0F : own;
          grad[p][s] *= to_float(weight[i + s * half]);
          dot += grad[p][s] * value[p][s];
        }
      }
      const float mean = sum_of_warp(dot) / static_cast<float>(g.head_size);
#pragma unroll
      for (int p = 0; p < kPairs; ++p) {
        if (lane + 32 * p >= half) continue;
        grad[p][0] = (grad[p][0] - value[p][0] * mean) * inverse;
        grad[p][1] = (grad[p][1] - value[p][1] * mean) * inverse;
      }
    }
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      const int i = lane + 32 * p;
      if (i >= half) continue;
      to[i] = to_bf16(grad[p][0]);
      to[i + half] = to_bf16(grad[p][1]);
    }
  }
  if (g.unnormed == nullptr) return;
#pragma unroll
  for (int p = 0; p < kPairs; ++p) {
    const int i = lane + 32 * p;
    if (i >= half) continue;
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      shared[(warp * 2 + which) * g.head_size + i] = grad_weight[which][p][0];
      shared[(warp * 2 + which) * g.head_size + i + half] = grad_weight[which][p][1];
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 2 * g.head_size; i += kThreads) {
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += shared[w * 2 * g.head_size + i];
    partial[static_cast<std::int64_t>(blockIdx.x) * 2 * g.head_size + i] = sum;
  }
}

__global__ void __launch_bounds__(kThreads) swiglu_backward_kernel(const Bf16* gate_up, const Bf16* grad_activated, std::int64_t count,
                                                                   std::int64_t inner, Bf16* grad_gate_up) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8;
  if (i >= count) return;
  const std::int64_t row = i / inner, gate_at = row * 2 * inner + i % inner, up_at = gate_at + inner;
  const Eight gate = load8(gate_up + gate_at), up = load8(gate_up + up_at), grad = load8(grad_activated + i);
  const SwigluGradient out = swiglu_gradient(gate, up, grad);
  *reinterpret_cast<Eight*>(grad_gate_up + gate_at) = out.gate;
  *reinterpret_cast<Eight*>(grad_gate_up + up_at) = out.up;
}

/// The block of the first row of an id takes all of that id's rows.
__global__ void __launch_bounds__(kThreads) embedding_backward_kernel(const float* rows_, const std::int64_t* ids,
                                                                      const std::int64_t* order, std::int64_t rows,
                                                                      std::int64_t hidden, float* grad_table) {
  const std::int64_t first = blockIdx.x, id = ids[first];
  if (first > 0 && ids[first - 1] == id) return;
  for (std::int64_t column = 4 * threadIdx.x; column < hidden; column += 4 * kThreads) {
    FourFloats sum{};
#pragma unroll 4
    for (std::int64_t i = first; i < rows && ids[i] == id; ++i) {
      const FourFloats x = load4(rows_ + order[i] * hidden + column);
#pragma unroll
      for (int j = 0; j < 4; ++j) sum.v[j] += x.v[j];
    }
    float* const to = grad_table + id * hidden + column;
    const FourFloats before = load4(to);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum.v[j] += before.v[j];
    *reinterpret_cast<FourFloats*>(to) = sum;
  }
}

}  // namespace

std::int64_t row_sum_scratch(std::int64_t rows, std::int64_t width) {
  const auto parts = [](std::int64_t count, std::int64_t each) { return (count + each - 1) / each; };
  const std::int64_t norm_parts = parts(rows, kNormRows);
  return (norm_parts + std::max(parts(norm_parts, kColumnRows), parts(rows, kColumnRows))) * width;
}

void rms_norm_backward(const NormGradient& g, float* scratch, cudaStream_t stream) {
  if (g.rows == 0) return;
  const unsigned parts = blocks_of(g.rows, kNormRows);
  if (g.hidden <= 4 * kThreads) {
    rms_norm_backward_kernel<1><<<parts, kThreads, 0, stream>>>(g, scratch);
  } else if (g.hidden <= 8 * kThreads) {
    rms_norm_backward_kernel<2><<<parts, kThreads, 0, stream>>>(g, scratch);
  } else if (g.hidden <= 16 * kThreads) {
    rms_norm_backward_kernel<4><<<parts, kThreads, 0, stream>>>(g, scratch);
  } else {
    rms_norm_backward_kernel<8><<<parts, kThreads, 0, stream>>>(g, scratch);
  }
  add_columns(scratch, parts, g.hidden, scratch + static_cast<std::int64_t>(parts) * g.hidden, g.grad_weight, stream);
}

void finish_qkv_backward(const QkvGradient& g, float* scratch, cudaStream_t stream) {
  if (g.rows == 0) return;
  const unsigned parts = blocks_of(g.rows, kNormRows);
  const std::size_t shared = g.unnormed == nullptr ? 0 : sizeof(float) * 2 * kWarps * static_cast<std::size_t>(g.head_size);
  if (g.rope == nullptr && g.unnormed == nullptr) {
    // All is in its place.
  } else if (g.head_size <= 64) {
    finish_qkv_backward_kernel<1><<<parts, kThreads, shared, stream>>>(g, scratch);
  } else if (g.head_size <= 128) {
    finish_qkv_backward_kernel<2><<<parts, kThreads, shared, stream>>>(g, scratch);
  } else {
    finish_qkv_backward_kernel<4><<<parts, kThreads, shared, stream>>>(g, scratch);
  }
  if (g.unnormed != nullptr) {
    const std::int64_t both = 2 * g.head_size, count = static_cast<std::int64_t>(parts) * both;
    // One row of sums for both weights, then each to its place.
    float* const sums = scratch + count;
    sum_columns_kernel<float><<<blocks_of(both, 32), 1024, 0, stream>>>(scratch, parts, both, parts, sums, false);
    sum_columns_kernel<float><<<blocks_of(g.head_size, 32), 1024, 0, stream>>>(sums, 1, g.head_size, 1, g.grad_q_norm, true);
    sum_columns_kernel<float><<<blocks_of(g.head_size, 32), 1024, 0, stream>>>(sums + g.head_size, 1, g.head_size, 1, g.grad_k_norm, true);
  }
  const std::int64_t width = std::int64_t{g.heads + 2 * g.kv_heads} * g.head_size;
  if (g.grad_bias != nullptr) add_columns(g.grad_qkv, g.rows, width, scratch, g.grad_bias, stream);
}

void swiglu_backward(const Bf16* gate_up, const Bf16* grad_activated, std::int64_t rows, std::int64_t inner, Bf16* grad_gate_up,
                     cudaStream_t stream) {
  if (rows == 0) return;
  swiglu_backward_kernel<<<blocks_of(rows * inner, kThreads * 8), kThreads, 0, stream>>>(gate_up, grad_activated, rows * inner, inner,
                                                                                         grad_gate_up);
}

void embedding_backward(const float* rows_, const std::int64_t* ids, const std::int64_t* order, std::int64_t rows, std::int64_t hidden,
                        float* grad_table, cudaStream_t stream) {
  if (rows == 0) return;
  embedding_backward_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(rows_, ids, order, rows, hidden, grad_table);
}

}  // namespace troupe::cuda
