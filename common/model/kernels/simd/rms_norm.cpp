#include "common/model/kernels/simd/table.h"
#include "common/model/kernels/simd/vector.h"

namespace troupe::TROUPE_ISA {

template <typename T>
void add_rms_norm(const float* residual, const T* delta, const T* weight, float eps, std::int64_t rows, std::int64_t width,
                  float* sum, T* normed, float* inverse_rms) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t start = row * width;
    V16 squares{};
    for (std::int64_t i = 0; i < width; i += 16) {
      V16 x = load_upto(residual + start + i, width - i);
      if (delta != nullptr) x += load_upto(delta + start + i, width - i);
      store_upto(sum + start + i, x, width - i);
      squares = fma(x, x, squares);
    }
    const float inverse = 1.0f / std::sqrt(sum_lanes(squares) / static_cast<float>(width) + eps);
    if (inverse_rms != nullptr) inverse_rms[row] = inverse;
    for (std::int64_t i = 0; i < width; i += 16) {
      const V16 x = load_upto(sum + start + i, width - i) * inverse;
      store_upto(normed + start + i, x * load_upto(weight + i, width - i), width - i);
    }
  }
}

// With n = x r, r = (mean(x²) + eps)^(-1/2), y = n w:  dx = r (w dy - n mean(w dy n)),  dw = dy n.
template <typename T>
void rms_norm_backward(const T* grad_normed, const float* sum, const float* inverse_rms, const T* weight, std::int64_t rows,
                       std::int64_t width, float* grad_sum, T* rounded, float* grad_weight) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t start = row * width;
    const float inverse = inverse_rms[row];
    V16 dots{};
    for (std::int64_t i = 0; i < width; i += 16) {
      const V16 dy = load_upto(grad_normed + start + i, width - i);
      const V16 n = load_upto(sum + start + i, width - i) * inverse;
      dots = fma(dy * load_upto(weight + i, width - i), n, dots);
      store_upto(grad_weight + i, fma(dy, n, load_upto(grad_weight + i, width - i)), width - i);
    }
    const float mean = sum_lanes(dots) / static_cast<float>(width);
    for (std::int64_t i = 0; i < width; i += 16) {
      const V16 dn = load_upto(grad_normed + start + i, width - i) * load_upto(weight + i, width - i);
      const V16 n = load_upto(sum + start + i, width - i) * inverse;
      const V16 dx = load_upto(grad_sum + start + i, width - i) + (dn - n * mean) * inverse;
      store_upto(grad_sum + start + i, dx, width - i);
      if (rounded != nullptr) store_upto(rounded + start + i, dx, width - i);
    }
  }
}

template <typename T>
void fill_rms_norm(Kernels<T>& table) {
  table.add_rms_norm = add_rms_norm<T>;
  table.rms_norm_backward = rms_norm_backward<T>;
}
template void fill_rms_norm(Kernels<float>&);
template void fill_rms_norm(Kernels<Bf16>&);

}  // namespace troupe::TROUPE_ISA
