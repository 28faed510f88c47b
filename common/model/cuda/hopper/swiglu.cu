#include "common/model/cuda/hopper/swiglu.h"

#include "common/model/cuda/hopper/tile_product.cuh"
#include "common/model/cuda/swiglu.cuh"

namespace troupe::cuda {
namespace {

using tiles::kColumns;
using tiles::Right;
using tiles::Work;

constexpr std::int64_t kLeastRows = 1024;

/// A tile is 128 columns of gate and the same of up.
struct Activate {
  Bf16* gate_up;
  Bf16* activated;

  using Ahead = tiles::NothingAhead;
  __device__ __forceinline__ void ahead(Ahead&, const Work&, int, int) const {}
  __device__ __forceinline__ void operator()(float (&values)[kColumns / 4], const Ahead&, const Work& work, int row, int column) const {
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

/// A tile is the gradient of `activated`. A thread reads what it needs for its first row before the tile is multiplied, and for its
/// second while it finishes the first.
struct Differentiate {
  const Bf16* gate_up;
  Bf16* grad_gate_up;
  Bf16* activated;

  struct Ahead {
    uint4 gate[kColumns / 32], up[kColumns / 32];
  };
  __device__ __forceinline__ void ahead(Ahead& ahead, const Work& work, int row, int column) const {
#pragma unroll
    for (int part = 0; part < kColumns / 32; ++part) load(ahead, part, work, row, column);
  }
  __device__ __forceinline__ void operator()(float (&values)[kColumns / 4], Ahead& ahead, const Work& work, int row, int column) const {
    const std::int64_t inner = work.columns, gates = row * 2 * inner;
#pragma unroll
    for (int part = 0; part < kColumns / 32; ++part) {
      const Eight gate = eight_of(ahead.gate[part]), up = eight_of(ahead.up[part]), grad = tiles::eight_columns(&values[8 * part]);
      if (row % 16 < 8) load(ahead, part, work, row + 8, column);
      const int at = place(part, column);
      if (row >= work.rows || at >= work.columns) continue;
      const SwigluGradient out = swiglu_gradient(gate, up, grad);
      *reinterpret_cast<Eight*>(grad_gate_up + gates + at) = out.gate;
      *reinterpret_cast<Eight*>(grad_gate_up + gates + inner + at) = out.up;
      *reinterpret_cast<Eight*>(activated + row * inner + at) = out.activated;
    }
  }

 private:
  static __device__ __forceinline__ int place(int part, int column) { return column + 32 * part + static_cast<int>(threadIdx.x % 4) * 8; }
  __device__ __forceinline__ void load(Ahead& ahead, int part, const Work& work, int row, int column) const {
    const int at = place(part, column);
    if (row >= work.rows || at >= work.columns) return;
    const Bf16* const from = gate_up + static_cast<std::int64_t>(row) * 2 * work.columns + at;
    ahead.gate[part] = read(from);
    ahead.up[part] = read(from + work.columns);
  }
  /// In this place of the program. Nobody writes these while the kernel runs.
  static __device__ __forceinline__ uint4 read(const Bf16* from) {
    uint4 x;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(from));
    return x;
  }
  static __device__ __forceinline__ Eight eight_of(const uint4& x) {
    const unsigned words[4] = {x.x, x.y, x.z, x.w};
    Eight eight;
#pragma unroll
    for (int i = 0; i < 8; ++i) eight.v[i] = {static_cast<std::uint16_t>(words[i / 2] >> 16 * (i % 2))};
    return eight;
  }
};

tiles::Operands operands_of(const GateUpProduct& p) { return {p.normed, p.weights, p.rows, p.hidden, 2 * p.inner}; }
tiles::Operands operands_of(const DownGradient& g) { return {g.grad, g.down, g.rows, g.hidden, g.inner}; }

Work work_of(std::int64_t columns, std::int64_t tile_columns, std::int64_t second_half) {
  Work work{};
  work.columns = static_cast<int>(columns);
  work.second_half = static_cast<int>(second_half);
  work.tile_columns = static_cast<int>(tile_columns);
  return work;
}

}  // namespace

bool fused_swiglu_serves(const GateUpProduct& product) {
  return product.rows >= kLeastRows && product.inner % 8 == 0 && tiles::serve<Right::kTransposed>(operands_of(product));
}

void fused_swiglu(const GateUpProduct& product, cudaStream_t stream) {
  tiles::launch<Right::kTransposed>(operands_of(product), work_of(product.inner, kColumns / 2, product.inner),
                                    Activate{product.gate_up, product.activated}, stream);
}

bool fused_swiglu_backward_serves(const DownGradient& gradient) {
  return gradient.rows >= kLeastRows && gradient.inner % 8 == 0 && tiles::serve<Right::kPlain>(operands_of(gradient));
}

void fused_swiglu_backward(const DownGradient& gradient, cudaStream_t stream) {
  tiles::launch<Right::kPlain>(operands_of(gradient), work_of(gradient.inner, kColumns, kColumns / 2),
                               Differentiate{gradient.gate_up, gradient.grad_gate_up, gradient.activated}, stream);
}

}  // namespace troupe::cuda
