#include "common/model/cuda/hopper/swiglu.h"
#include "common/model/cuda/hopper/tile_product.cuh"
#include "common/model/cuda/swiglu.cuh"

namespace troupe::cuda {
namespace {

using tiles::kColumns;
using tiles::Work;

constexpr std::int64_t kLeastRows = 1024;
constexpr int kTogether = 4;
constexpr int kLineElements = 64;  // of 128 bytes, which the second-level cache holds together

/// A tile is 128 columns of gate and the same of up.
struct Activate : tiles::Finishing {
  Bf16* gate_up;
  Bf16* activated;

  __device__ __forceinline__ void operator()(float (&values)[kColumns / 4], const Work& work, int row, int column) const {
    const std::int64_t inner = work.columns;
    Bf16* const gates = gate_up + row * 2 * inner;
#pragma unroll
    for (int part = 0; part < kColumns / 64; ++part) {
      const Eight gate = tiles::eight_columns(&values[8 * part]), up = tiles::eight_columns(&values[kColumns / 8 + 8 * part]);
      const int at = column + 32 * part + static_cast<int>(threadIdx.x % 4) * 8;
      if (row >= work.rows || at >= work.columns) continue;
      if (gate_up != nullptr) {
        *reinterpret_cast<Eight*>(gates + at) = gate;
        *reinterpret_cast<Eight*>(gates + inner + at) = up;
      }
      *reinterpret_cast<Eight*>(activated + row * inner + at) = activated_of(gate, up);
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

  __device__ __forceinline__ void operator()(float (&values)[kColumns / 4], const Work& work, int row, int column) const {
    const std::int64_t inner = work.columns, from = 2 * inner * row + column + static_cast<int>(threadIdx.x % 4) * 8;
    const auto inside = [&](int part) {
      return row < work.rows && column + 32 * part + static_cast<int>(threadIdx.x % 4) * 8 < work.columns;
    };
#pragma unroll
    for (int begin = 0; begin < kColumns / 32; begin += kTogether) {  // so many loads are under way at once
      Eight gate[kTogether], up[kTogether];
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        if (!inside(begin + i)) continue;
        gate[i] = load8(gate_up + from + 32 * (begin + i));
        up[i] = load8(gate_up + from + inner + 32 * (begin + i));
      }
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        const SwigluGradient out = swiglu_gradient(gate[i], up[i], tiles::eight_columns(&values[8 * (begin + i)]));
        if (!inside(begin + i)) continue;
        *reinterpret_cast<Eight*>(grad_gate_up + from + 32 * (begin + i)) = out.gate;
        *reinterpret_cast<Eight*>(grad_gate_up + from + inner + 32 * (begin + i)) = out.up;
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
