#pragma once

#include "common/model/cuda/elements.cuh"

// activated = silu(gate) * up and its gradient, of eight elements, for the kernels that compute them.

namespace troupe::cuda {

__device__ __forceinline__ Bf16 activated_of(float gate, float up) { return to_bf16(__fdividef(gate, 1.0F + __expf(-gate)) * up); }

__device__ __forceinline__ Eight activated_of(const Eight& gate, const Eight& up) {
  Eight out;
#pragma unroll
  for (int j = 0; j < 8; ++j) out.v[j] = activated_of(to_float(gate.v[j]), to_float(up.v[j]));
  return out;
}

struct SwigluGradient {
  Eight gate, up;
};

__device__ __forceinline__ SwigluGradient swiglu_gradient(const Eight& gate, const Eight& up, const Eight& grad_activated) {
  SwigluGradient out;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float g = to_float(gate.v[j]), u = to_float(up.v[j]), da = to_float(grad_activated.v[j]);
    const float sigmoid = __fdividef(1.0F, 1.0F + __expf(-g)), silu = g * sigmoid;
    out.gate.v[j] = to_bf16(da * u * (sigmoid + silu * (1.0F - sigmoid)));
    out.up.v[j] = to_bf16(da * silu);
  }
  return out;
}

}  // namespace troupe::cuda
