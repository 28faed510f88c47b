#include "common/model/kernels/simd/table.h"
#include "common/model/kernels/simd/vector.h"

namespace troupe::TROUPE_ISA {

template <typename T>
void swiglu(const T* gate_up, std::int64_t rows, std::int64_t width, T* activated) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* gate = gate_up + row * 2 * width;
    for (std::int64_t i = 0; i < width; i += 16) {
      const V16 g = load_upto(gate + i, width - i), u = load_upto(gate + width + i, width - i);
      store_upto(activated + row * width + i, g / (1.0f + exp(-g)) * u, width - i);
    }
  }
}

template <typename T>
void swiglu_backward(const T* gate_up, const T* grad_activated, std::int64_t rows, std::int64_t width, T* grad_gate_up,
                     T* activated) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* gate = gate_up + row * 2 * width;
    T* grad = grad_gate_up + row * 2 * width;
    for (std::int64_t i = 0; i < width; i += 16) {
      const V16 g = load_upto(gate + i, width - i), u = load_upto(gate + width + i, width - i);
      const V16 da = load_upto(grad_activated + row * width + i, width - i);
      const V16 sigmoid = 1.0f / (1.0f + exp(-g));
      const V16 silu = g * sigmoid;
      store_upto(activated + row * width + i, silu * u, width - i);
      store_upto(grad + i, da * u * (sigmoid + silu * (1.0f - sigmoid)), width - i);
      store_upto(grad + width + i, da * silu, width - i);
    }
  }
}

template <typename T>
void fill_swiglu(Kernels<T>& table) {
  table.swiglu = swiglu<T>;
  table.swiglu_backward = swiglu_backward<T>;
}
template void fill_swiglu(Kernels<float>&);
template void fill_swiglu(Kernels<Bf16>&);

}  // namespace troupe::TROUPE_ISA
