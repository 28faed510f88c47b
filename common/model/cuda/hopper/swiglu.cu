#include "common/model/cuda/hopper/swiglu.h"
#include "common/model/cuda/hopper/tile_product.cuh"
#include "common/model/cuda/swiglu.cuh"

namespace troupe::cuda {
namespace {

using tiles::kColumns;
using tiles::Work;

constexpr std::int64_t kLeastRows = 1024;
constexpr int kTogether = 2;
constexpr int kLineElements = 64;  // of 128 bytes, which the second-level cache holds together

/// A tile is 128 columns of gate and the same of up.
struct Activate : tiles::Finishing {
  Bf16* gate_up;
  Bf16* activated;

  __device__ __forceinline__ void operator()(const float (&d)[kColumns / 2], Ahead /*ahead*/, const Work& work, const tiles::WarpRows& rows) const {
    const std::int64_t inner = work.columns;
#pragma unroll
    for (int part = 0; part < kColumns / 64; ++part) {
      Eight gate[2], up[2];
      tiles::exchange(&d[16 * part], rows.exchange, gate);
      tiles::exchange(&d[kColumns / 4 + 16 * part], rows.exchange, up);
      const int column = rows.own_column(part);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::int64_t row = rows.own_row() + 8 * half;
        if (row >= work.rows || column >= work.columns) continue;
        if (gate_up != nullptr) {
          store8_streaming(gate_up + row * 2 * inner + column, gate[half]);
          store8_streaming(gate_up + row * 2 * inner + inner + column, up[half]);
        }
        store8_streaming(activated + row * inner + column, activated_of(gate[half], up[half]));
      }
    }
  }
};

/// A tile's values are the gradient of `activated`.
struct Differentiate : tiles::Finishing {
  using Right = RowsAreInner;
  const Bf16* gate_up;
  Bf16* grad_gate_up;

  /// Gate and up of a thread's two rows in some parts of the tile.
  struct Ahead {
    Eight gate[kTogether][2], up[kTogether][2];
  };

  static __device__ __forceinline__ std::int64_t place(const Work& work, const tiles::WarpRows& rows, int part, int half) {
    return std::int64_t{2} * work.columns * (rows.own_row() + 8 * half) + rows.own_column(part);
  }
  static __device__ __forceinline__ bool inside(const Work& work, const tiles::WarpRows& rows, int part, int half) {
    return rows.own_row() + 8 * half < work.rows && rows.own_column(part) < work.columns;
  }

  __device__ __forceinline__ Ahead load(const Work& work, const tiles::WarpRows& rows, int begin) const {
    Ahead ahead;
#pragma unroll
    for (int i = 0; i < 2 * kTogether; ++i) {
      // What lies outside is loaded from the edge.
      const int row = min(rows.own_row() + i % 2 * 8, work.rows - 1), column = min(rows.own_column(begin + i / 2), work.columns - 8);
      const Bf16* const from = gate_up + std::int64_t{2} * work.columns * row + column;
      ahead.gate[i / 2][i % 2] = load8_streaming(from);
      ahead.up[i / 2][i % 2] = load8_streaming(from + work.columns);
    }
    return ahead;
  }

  /// The first parts; the others to the second-level cache, by two lanes for each of the warp's rows, one for gate and one for up.
  __device__ __forceinline__ Ahead foresee(const Work& work, const tiles::WarpRows& rows) const {
    const int row = rows.row + static_cast<int>(threadIdx.x % 32 / 2);
    const Bf16* const from = gate_up + (std::int64_t{2} * row + threadIdx.x % 2) * work.columns + rows.column;
#pragma unroll
    for (int line = 32 * kTogether; line < kColumns; line += kLineElements) {
      if (row < work.rows && rows.column + line < work.columns) asm volatile("prefetch.global.L2 [%0];" ::"l"(from + line));
    }
    return load(work, rows, 0);
  }

  __device__ __forceinline__ void operator()(const float (&d)[kColumns / 2], const Ahead& ahead, const Work& work,
                                             const tiles::WarpRows& rows) const {
    Ahead now = ahead;
#pragma unroll
    for (int begin = 0; begin < kColumns / 32; begin += kTogether) {
      Ahead next;
      if (begin + kTogether < kColumns / 32) next = load(work, rows, begin + kTogether);  // under way while these are finished
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        Eight grad[2];
        tiles::exchange(&d[16 * (begin + i)], rows.exchange, grad);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const SwigluGradient out = swiglu_gradient(now.gate[i][half], now.up[i][half], grad[half]);
          if (!inside(work, rows, begin + i, half)) continue;
          Bf16* const to = grad_gate_up + place(work, rows, begin + i, half);
          store8_streaming(to, out.gate);
          store8_streaming(to + work.columns, out.up);
        }
      }
      now = next;
    }
  }
};

tiles::Operands<> operands_of(const GateUpProduct& p) { return {p.normed, p.weights, p.rows, p.hidden, 2 * p.inner}; }
tiles::Operands<RowsAreInner> operands_of(const SwigluGradientProduct& p) { return {p.grad, p.down, p.rows, p.hidden, p.inner}; }

}  // namespace

bool fused_swiglu_serves(const GateUpProduct& product) {
  return product.rows >= kLeastRows && product.inner % 8 == 0 && operands_of(product).serve();
}

void fused_swiglu(const GateUpProduct& product, cudaStream_t stream) {
  Work work{};
  work.columns = static_cast<int>(product.inner);
  work.second_half = work.columns;
  work.tile_columns = kColumns / 2;
  tiles::launch(operands_of(product), work, Activate{{}, product.gate_up, product.activated}, stream);
}

bool fused_swiglu_backward_serves(const SwigluGradientProduct& product) {
  return product.rows >= kLeastRows && product.inner % 8 == 0 && operands_of(product).serve();
}

void fused_swiglu_backward(const SwigluGradientProduct& product, cudaStream_t stream) {
  Work work{};
  work.columns = static_cast<int>(product.inner);
  work.tile_columns = kColumns;
  tiles::launch(operands_of(product), work, Differentiate{{}, product.gate_up, product.grad_gate_up}, stream);
}

}  // namespace troupe::cuda
