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

  __device__ __forceinline__ void operator()(const float (&d)[kColumns / 2], const Work& work, const tiles::WarpRows& rows) const {
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
          *reinterpret_cast<Eight*>(gate_up + row * 2 * inner + column) = gate[half];
          *reinterpret_cast<Eight*>(gate_up + row * 2 * inner + inner + column) = up[half];
        }
        *reinterpret_cast<Eight*>(activated + row * inner + column) = activated_of(gate[half], up[half]);
      }
    }
  }
};

/// A tile's values are the gradient of `activated`.
struct Differentiate : tiles::Finishing {
  using Right = RowsAreInner;
  const Bf16* gate_up;
  Bf16* grad_gate_up;

  /// To the second-level cache: two threads for each of the tile's rows, one for gate and one for up.
  __device__ __forceinline__ void foresee(const Work& work, const tiles::Tile& tile) const {
    const int row = tile.row + static_cast<int>(threadIdx.x / 2);
    if (row >= work.rows) return;
    const Bf16* const from = gate_up + (2 * static_cast<std::int64_t>(row) + threadIdx.x % 2) * work.columns + tile.column;
#pragma unroll
    for (int line = 0; line < kColumns; line += kLineElements) {
      if (tile.column + line < work.columns) asm volatile("prefetch.global.L2 [%0];" ::"l"(from + line));
    }
  }

  __device__ __forceinline__ void operator()(const float (&d)[kColumns / 2], const Work& work, const tiles::WarpRows& rows) const {
    const std::int64_t inner = work.columns;
    const auto place = [&](int part, int half) { return 2 * inner * (rows.own_row() + 8 * half) + rows.own_column(part); };
    const auto inside = [&](int part, int half) { return rows.own_row() + 8 * half < work.rows && rows.own_column(part) < work.columns; };
#pragma unroll
    for (int begin = 0; begin < kColumns / 32; begin += kTogether) {  // the loads of so many parts are under way at once
      Eight gate[kTogether][2], up[kTogether][2];
#pragma unroll
      for (int i = 0; i < 2 * kTogether; ++i) {
        if (!inside(begin + i / 2, i % 2)) continue;
        gate[i / 2][i % 2] = load8(gate_up + place(begin + i / 2, i % 2));
        up[i / 2][i % 2] = load8(gate_up + place(begin + i / 2, i % 2) + inner);
      }
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        Eight grad[2];
        tiles::exchange(&d[16 * (begin + i)], rows.exchange, grad);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const SwigluGradient out = swiglu_gradient(gate[i][half], up[i][half], grad[half]);
          if (!inside(begin + i, half)) continue;
          *reinterpret_cast<Eight*>(grad_gate_up + place(begin + i, half)) = out.gate;
          *reinterpret_cast<Eight*>(grad_gate_up + place(begin + i, half) + inner) = out.up;
        }
      }
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
