#include "common/model/kernels/simd/table.h"
#include "common/model/kernels/simd/vector.h"

namespace troupe::TROUPE_ISA {

template <typename T>
void bias_rope(T* rows_, const T* bias, const std::int64_t* positions, const float* cos_sin, std::int64_t rows,
               std::int64_t heads, std::int64_t turned, std::int64_t head_size, float sign) {
  const std::int64_t width = heads * head_size, half = head_size / 2;
  for (std::int64_t row = 0; row < rows; ++row) {
    T* x = rows_ + row * width;
    if (bias != nullptr) {
      for (std::int64_t i = 0; i < width; i += 16) {
        store_upto(x + i, load_upto(x + i, width - i) + load_upto(bias + i, width - i), width - i);
      }
    }
    const float* cosines = cos_sin + positions[row] * head_size;
    for (std::int64_t head = 0; head < turned; ++head) {
      T* low = x + head * head_size;
      T* high = low + half;
      for (std::int64_t i = 0; i < half; i += 16) {
        const V16 c = load_upto(cosines + i, half - i), s = load_upto(cosines + half + i, half - i) * sign;
        const V16 a = load_upto(low + i, half - i), b = load_upto(high + i, half - i);
        store_upto(low + i, fma(a, c, -(b * s)), half - i);
        store_upto(high + i, fma(b, c, a * s), half - i);
      }
    }
  }
}

template <typename T>
void pack_keys(const T* keys, std::int64_t stride, std::int64_t rows, std::int64_t head_size, std::int64_t first_position,
               T* key_blocks) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t position = first_position + row;
    T* column = key_blocks + position / kKeyBlock * head_size * kKeyBlock + position % kKeyBlock;
    for (std::int64_t i = 0; i < head_size; ++i) column[i * kKeyBlock] = keys[row * stride + i];
  }
}

template <typename T>
void fill_rope(Kernels<T>& table) {
  table.bias_rope = bias_rope<T>;
  table.pack_keys = pack_keys<T>;
}
template void fill_rope(Kernels<float>&);
template void fill_rope(Kernels<Bf16>&);

}  // namespace troupe::TROUPE_ISA
