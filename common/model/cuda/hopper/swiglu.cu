#include "common/model/cuda/hopper/swiglu.h"
#include "common/model/cuda/hopper/tile_product.cuh"
#include "common/model/cuda/swiglu.cuh"

namespace troupe::cuda {
namespace {

using tiles::kColumns;
using tiles::Work;

constexpr std::int64_t kLeastRows = 1024;

/// A tile is 128 columns of gate and the same of up.
struct Activate {
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

tiles::Operands operands_of(const GateUpProduct& p) { return {p.normed, p.weights, p.rows, p.hidden, 2 * p.inner}; }

}  // namespace

bool fused_swiglu_serves(const GateUpProduct& product) {
  return product.rows >= kLeastRows && product.inner % 8 == 0 && tiles::serve(operands_of(product));
}

void fused_swiglu(const GateUpProduct& product, cudaStream_t stream) {
  Work work{};
  work.columns = static_cast<int>(product.inner);
  work.second_half = work.columns;
  work.tile_columns = kColumns / 2;
  tiles::launch(operands_of(product), work, Activate{product.gate_up, product.activated}, stream);
}

}  // namespace troupe::cuda
