#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

#include "common/model/kernels/kernels.h"

// The products of a model for so few rows that reading the weights is what takes the time: each with the element-wise work before and
// behind it in one kernel, whose weights begin to come while the kernel before it still runs. Hopper GPUs only. Every element is one chain over the
// inner dimension, in steps of 16, on the matrix units: the bits that cuBLASLt gives it without split-K.

namespace troupe::cuda {

inline constexpr std::int64_t kFewRows = 4;

/// The rows that are multiplied: x [rows, k], or RMSNorm of the residual rows [rows, k] as add_rms_norm computes it.
struct FewRows {
  std::int64_t rows;  // 1 to kFewRows
  std::int64_t k;     // a multiple of 16
  const Bf16* x;      // null: the normed residual
  const float* residual = nullptr;
  const Bf16* norm = nullptr;
  float eps = 0;
};

/// Whether the kernels take a model's products: those of hidden rows, of attended ones, and of the `inner` activated elements.
bool few_rows_serve(std::int64_t hidden, std::int64_t attended, std::int64_t inner);

/// out[rows, n] = x · w[n, k]ᵀ, n a multiple of 8.
void multiply_few(const FewRows& x, const Bf16* w, std::int64_t n, Bf16* out, cudaStream_t stream);
void multiply_few(const FewRows& x, const Bf16* w, std::int64_t n, float* out, cudaStream_t stream);

/// residual[rows, n] += x · w[n, k]ᵀ, the product rounded to bf16 first.
void add_product_few(const FewRows& x, const Bf16* w, std::int64_t n, float* residual, cudaStream_t stream);

/// activated[rows, inner] = silu(x · gateᵀ) * (x · upᵀ), the products rounded to bf16 first; gate_up [2 inner, k].
void swiglu_few(const FewRows& x, const Bf16* gate_up, std::int64_t inner, Bf16* activated, cudaStream_t stream);

}  // namespace troupe::cuda
