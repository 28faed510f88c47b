#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

// ExactSum on a GPU: integers, so that no order of additions matters.

namespace troupe::cuda {

inline constexpr int kExactLimbs = 67;  // ExactSum's

/// Adds values [count], none of them negative, to limbs [kExactLimbs], and to what follows these bit 0 for one that is infinite, bit 1
/// for one that is NaN.
void add_exactly(const double* values, std::int64_t count, std::uint64_t* limbs, cudaStream_t stream);

}  // namespace troupe::cuda
