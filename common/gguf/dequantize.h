#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace troupe {

/// How GGML stores numbers; the values are those of the file format.
enum class BlockType : std::uint32_t { kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8, kQ4_K = 12, kQ6_K = 14, kBF16 = 30 };

/// A type's blocks: so many numbers in so many bytes.
struct BlockSize {
  std::int64_t elements;
  std::int64_t bytes;
};

/// @throws ConfigError naming the type and those that are supported.
BlockType block_type_of(std::uint32_t type);
BlockSize block_size_of(BlockType type);

/// Writes the numbers of whole blocks as fp32, with the operations and the roundings of the reference (gguf.quants of PyPI's gguf;
/// ggml-quants.c): the bits are the same. `values` has block_size_of(type).elements for each of the blocks in `bytes`.
void dequantize(BlockType type, std::span<const std::byte> bytes, std::span<float> values);

/// The value of IEEE half precision bits; exact.
float half_to_float(std::uint16_t half);

}  // namespace troupe
