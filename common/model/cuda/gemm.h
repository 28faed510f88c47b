#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

// The matrix products of the model on a GPU, through cuBLASLt: bf16 operands, fp32 accumulation, row-major and contiguous.

namespace troupe {

/// Whether a row of a product may depend on how many rows there are.
enum class Rows {
  kExact,  // one chain over the inner dimension (no split-K): the same bits at every number of rows, see rows_are_exact
  kFree,   // whatever is fastest
};

/// out[rows, n] = x[rows, k] · w[n, k]ᵀ; out is bf16 or fp32.
void multiply_transposed(const at::Tensor& x, const at::Tensor& w, const at::Tensor& out, Rows exactness);

/// out[rows, k] = g[rows, n] · w[n, k]; out is bf16 or fp32.
void multiply(const at::Tensor& g, const at::Tensor& w, const at::Tensor& out);

/// out[rows, k] += g[rows, n] · w[n, k]; out is fp32.
void add_product(const at::Tensor& g, const at::Tensor& w, const at::Tensor& out);

/// grad[n, k] += g[rows, n]ᵀ · x[rows, k]; grad is fp32.
void add_weight_gradient(const at::Tensor& g, const at::Tensor& x, const at::Tensor& grad);

}  // namespace troupe
