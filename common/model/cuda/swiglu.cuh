#pragma once

#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/row_statistics.cuh"

// activated = silu(gate) * up and its gradient, of eight elements, for the kernels that compute them.

namespace troupe::cuda {

/// 1 / (1 + e^-x) by the hardware's power of two and reciprocal; denormal results are zero.
__device__ __forceinline__ float sigmoid_of(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(1.0F + exp2_of(x * -1.4426950408889634F)));
  return y;
}

__device__ __forceinline__ Bf16 activated_of(float gate, float up) { return to_bf16(gate * sigmoid_of(gate) * up); }

__device__ __forceinline__ Eight activated_of(const Eight& gate, const Eight& up) {
  Pairs out;
  const Pairs g(gate), u(up);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    out.set(j, g.low(j) * sigmoid_of(g.low(j)) * u.low(j), g.high(j) * sigmoid_of(g.high(j)) * u.high(j));
  }
  return out.eight();
}

struct SwigluGradient {
  Eight gate, up;
};

__device__ __forceinline__ SwigluGradient swiglu_gradient(const Eight& gate, const Eight& up, const Eight& grad_activated) {
  const Pairs gates(gate), ups(up), grads(grad_activated);
  Pairs grad_gate, grad_up;
  const auto of_gate = [](float u, float da, float sigmoid, float silu) { return da * u * (sigmoid + silu * (1.0F - sigmoid)); };
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float low = sigmoid_of(gates.low(j)), high = sigmoid_of(gates.high(j));
    const float low_silu = gates.low(j) * low, high_silu = gates.high(j) * high;
    grad_gate.set(j, of_gate(ups.low(j), grads.low(j), low, low_silu), of_gate(ups.high(j), grads.high(j), high, high_silu));
    grad_up.set(j, grads.low(j) * low_silu, grads.high(j) * high_silu);
  }
  return {grad_gate.eight(), grad_up.eight()};
}

}  // namespace troupe::cuda
