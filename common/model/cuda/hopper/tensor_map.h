#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

#include "common/model/kernels/kernels.h"

// What the copy engine of Hopper GPUs must know of a tensor in device memory, for boxes of 64 columns and so many rows, which it
// writes with the 128-byte swizzle.

namespace troupe::cuda {

/// Whether the current GPU has Hopper's matrix instructions and copy engine.
bool is_hopper();

/// The current GPU's.
int multiprocessors();

/// Lets a kernel's blocks have so much shared memory. @throws DeviceError.
void allow_shared_memory(const void* kernel, std::size_t bytes);

/// Whether a map can describe rows that begin here, `stride` elements apart: both are at multiples of 16 bytes.
bool can_map(const Bf16* rows_, std::int64_t stride);

/// Of rows_[rows, columns], contiguous. @throws DeviceError.
CUtensorMap map_of(const Bf16* rows_, std::int64_t rows, std::int64_t columns, int box_rows);

/// Of rows_[rows, heads, head_size], rows `stride` elements apart. A box is of one head. @throws DeviceError.
CUtensorMap map_of_heads(const Bf16* rows_, std::int64_t rows, std::int64_t heads, std::int64_t head_size, std::int64_t stride,
                         int box_rows);

}  // namespace troupe::cuda
