#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "common/model/kernels/kernels.h"

// The product before SwiGLU together with it, and the one behind it with its gradient, so that what lies between is not read again.
// Hopper GPUs only.

namespace troupe::cuda {

/// Rows of `hidden` elements through [gate, up] weights [2 inner, hidden].
struct GateUpProduct {
  const Bf16* normed;   // [rows, hidden]
  const Bf16* weights;
  std::int64_t rows, hidden, inner;
  Bf16* gate_up;        // [rows, 2 inner]; null where nobody needs it
  Bf16* activated;      // [rows, inner]
};
/// Whether there are rows enough to fill the GPU, and the operands can be read.
bool fused_swiglu_serves(const GateUpProduct& product);
/// gate_up = normed · weightsᵀ, activated = silu(gate) * up. The bits are those of the product and `swiglu` apart.
void fused_swiglu(const GateUpProduct& product, cudaStream_t stream);

/// The gradient of rows of `hidden` elements back through `down`.
struct SwigluGradientProduct {
  const Bf16* grad;      // [rows, hidden]
  const Bf16* down;      // [hidden, inner]
  std::int64_t rows, hidden, inner;
  const Bf16* gate_up;   // [rows, 2 inner]
  Bf16* grad_gate_up;    // [rows, 2 inner]
};
/// Whether there are rows enough to fill the GPU, and the operands can be read.
bool fused_swiglu_backward_serves(const SwigluGradientProduct& product);
/// grad_gate_up = that of silu(gate) * up, whose gradient is grad · down. The bits are those of the product and `swiglu_backward` apart.
void fused_swiglu_backward(const SwigluGradientProduct& product, cudaStream_t stream);

}  // namespace troupe::cuda
