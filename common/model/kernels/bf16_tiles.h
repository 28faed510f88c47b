#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "common/model/kernels/kernels.h"

// bf16 products with fp32 sums on CPUs with matrix tiles (AMX), by oneDNN's micro-kernels as ATen exports them. Every element
// is summed over the inner dimension in one order, whatever the number of rows.

namespace troupe {

/// Whether this CPU and an inner dimension of this size can use them.
bool bf16_tiles_serve(std::int64_t inner);

/// right[inner, columns] packed into panels of 64 columns, pairs of inner rows interleaved.
at::Tensor pack_bf16_tiles(const Bf16* right, std::int64_t inner, std::int64_t columns);
/// The same of right = wᵀ for w[columns, inner].
at::Tensor pack_bf16_tiles_transposed(const Bf16* w, std::int64_t columns, std::int64_t inner);

/// out[rows, columns] = left[rows, inner] · right.
void multiply_bf16_tiles(const Bf16* left, const at::Tensor& right, std::int64_t rows, std::int64_t inner,
                         std::int64_t columns, Bf16* out);
void multiply_bf16_tiles(const Bf16* left, const at::Tensor& right, std::int64_t rows, std::int64_t inner,
                         std::int64_t columns, float* out);
/// out += instead of out =.
void add_bf16_tiles(const Bf16* left, const at::Tensor& right, std::int64_t rows, std::int64_t inner, std::int64_t columns,
                    float* out);

}  // namespace troupe
