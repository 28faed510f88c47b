#include "common/gguf/dequantize.h"

#include <array>
#include <bit>
#include <cstring>

#include "common/base/error.h"

namespace troupe {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are little-endian");

constexpr std::int64_t kSmall = 32, kSuper = 256;  // numbers in a block of the simple types, and of the "K" types

using Bytes = const std::uint8_t*;

float half_at(Bytes bytes) { return half_to_float(static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8)); }
float low(std::uint8_t byte) { return static_cast<float>(byte & 15); }
float high(std::uint8_t byte) { return static_cast<float>(byte >> 4); }

void f32(Bytes block, float* out) { std::memcpy(out, block, sizeof(float)); }
void f16(Bytes block, float* out) { *out = half_at(block); }
void bf16(Bytes block, float* out) {
  *out = std::bit_cast<float>(static_cast<std::uint32_t>(block[0]) << 16 | static_cast<std::uint32_t>(block[1]) << 24);
}

/// Scale; 16 bytes whose low halves come before all high halves; 8 is zero.
void q4_0(Bytes block, float* out) {
  const float scale = half_at(block);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * (low(block[2 + i]) - 8.0f);
    out[16 + i] = scale * (high(block[2 + i]) - 8.0f);
  }
}

/// Scale and minimum.
void q4_1(Bytes block, float* out) {
  const float scale = half_at(block), minimum = half_at(block + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * low(block[4 + i]) + minimum;
    out[16 + i] = scale * high(block[4 + i]) + minimum;
  }
}

void q8_0(Bytes block, float* out) {
  const float scale = half_at(block);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(static_cast<std::int8_t>(block[2 + i])) * scale;
}

/// Scale of scales and of minimums; eight pairs of 6 bits each in 12 bytes; 128 bytes of halves, 32 numbers low, 32 high.
void q4_k(Bytes block, float* out) {
  const float scale = half_at(block), minimum = half_at(block + 2);
  const Bytes packed = block + 4, halves = block + 16;
  for (int part = 0; part < 8; ++part) {
    const int at = part % 4;
    const int steps = part < 4 ? packed[at] & 63 : (packed[8 + at] & 15) | (packed[at] >> 6) << 4;
    const int floors = part < 4 ? packed[4 + at] & 63 : packed[8 + at] >> 4 | (packed[4 + at] >> 6) << 4;
    const float step = scale * static_cast<float>(steps), floor = minimum * static_cast<float>(floors);
    const Bytes from = halves + part / 2 * 32;
    for (int i = 0; i < 32; ++i) out[part * 32 + i] = step * (part % 2 == 0 ? low(from[i]) : high(from[i])) - floor;
  }
}

/// Low four bits of 256 numbers, high two bits, 16 scales of 16 numbers each, scale of scales; 32 is zero.
void q6_k(Bytes block, float* out) {
  const Bytes lows = block, highs = block + 128, scales = block + 192;
  const float scale = half_at(block + 208);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, quarter = i % 128 / 32, lane = i % 32;  // within a half: four runs of 32
    const int nibble = lows[half * 64 + quarter % 2 * 32 + lane] >> (quarter < 2 ? 0 : 4) & 15;
    const int pair = highs[half * 32 + lane] >> 2 * quarter & 3;
    const float step = scale * static_cast<float>(static_cast<std::int8_t>(scales[i / 16]));
    out[i] = step * static_cast<float>((nibble | pair << 4) - 32);
  }
}

struct Format {
  BlockType type;
  const char* name;
  BlockSize size;
  void (*read)(Bytes block, float* out);
};
constexpr std::array kFormats = {
    Format{BlockType::kF32, "F32", {1, 4}, f32},           Format{BlockType::kF16, "F16", {1, 2}, f16},
    Format{BlockType::kBF16, "BF16", {1, 2}, bf16},        Format{BlockType::kQ8_0, "Q8_0", {kSmall, 34}, q8_0},
    Format{BlockType::kQ4_0, "Q4_0", {kSmall, 18}, q4_0},  Format{BlockType::kQ4_1, "Q4_1", {kSmall, 20}, q4_1},
    Format{BlockType::kQ4_K, "Q4_K", {kSuper, 144}, q4_k}, Format{BlockType::kQ6_K, "Q6_K", {kSuper, 210}, q6_k}};

const Format* format_of(std::uint32_t type) {
  for (const Format& format : kFormats) {
    if (static_cast<std::uint32_t>(format.type) == type) return &format;
  }
  return nullptr;
}

}  // namespace

BlockType block_type_of(std::uint32_t type) {
  if (const Format* format = format_of(type)) return format->type;
  std::string known;
  for (const Format& format : kFormats) {
    known += (known.empty() ? "" : ", ") + std::string(format.name) + " (" +
             std::to_string(static_cast<std::uint32_t>(format.type)) + ")";
  }
  throw ConfigError("GGML type " + std::to_string(type) + " is not supported; " + known + " are");
}

BlockSize block_size_of(BlockType type) { return format_of(static_cast<std::uint32_t>(type))->size; }

void dequantize(BlockType type, std::span<const std::byte> bytes, std::span<float> values) {
  const Format& format = *format_of(static_cast<std::uint32_t>(type));
  const auto block_bytes = static_cast<std::size_t>(format.size.bytes),
             block_elements = static_cast<std::size_t>(format.size.elements);
  const std::size_t blocks = bytes.size() / block_bytes;
  check(bytes.size() == blocks * block_bytes && values.size() == blocks * block_elements, "whole blocks are dequantized");
  const auto* from = reinterpret_cast<Bytes>(bytes.data());
  for (std::size_t i = 0; i < blocks; ++i) format.read(from + i * block_bytes, values.data() + i * block_elements);
}

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24, exact in fp32
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    return sign == 0 ? value : -value;
  }
  return std::bit_cast<float>(sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13);
}

}  // namespace troupe
