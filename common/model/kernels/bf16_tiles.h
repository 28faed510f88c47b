#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "common/model/kernels/kernels.h"

// bf16 products with fp32 sums on CPUs with matrix tiles (AMX). Every element is summed over the inner dimension in one order,
// whatever the number of rows.

namespace troupe {

/// Whether this CPU has them. ATen's own check: ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment says no.
bool bf16_tiles_serve();

/// right[inner, columns] packed into tiles.
at::Tensor pack_bf16_tiles(const Bf16* right, std::int64_t inner, std::int64_t columns);
/// The same of right = wᵀ for w[columns, inner].
at::Tensor pack_bf16_tiles_transposed(const Bf16* w, std::int64_t columns, std::int64_t inner);

/// out[rows, columns] = left[rows, inner] · right.
void multiply_bf16_tiles(const Bf16* left, const at::Tensor& right, std::int64_t rows, std::int64_t inner,
                         std::int64_t columns, Bf16* out);
void multiply_bf16_tiles(const Bf16* left, const at::Tensor& right, std::int64_t rows, std::int64_t inner,
                         std::int64_t columns, float* out);
/// out[rows, columns] += gᵀ · x for g[inner, rows] and x[inner, columns].
void add_bf16_tiles(const Bf16* g, const Bf16* x, std::int64_t rows, std::int64_t inner, std::int64_t columns, float* out);

}  // namespace troupe
