#include "common/model/kernels/simd/table.h"
#include "common/model/kernels/simd/vector.h"

namespace troupe::TROUPE_ISA {
namespace {

template <typename T>
float inverse_rms_of(const T* head, std::int64_t head_size, float eps) {
  V16 squares{};
  for (std::int64_t i = 0; i < head_size; i += 16) {
    const V16 x = load_upto(head + i, head_size - i);
    squares = fma(x, x, squares);
  }
  return 1.0f / std::sqrt(sum_lanes(squares) / static_cast<float>(head_size) + eps);
}

}  // namespace

template <typename T>
void head_norm(const HeadRows<T>& heads, const T* weight, float eps) {
  for (std::int64_t row = 0; row < heads.rows; ++row) {
    for (std::int64_t head = 0; head < heads.heads; ++head) {
      T* x = heads.values + row * heads.stride + head * heads.head_size;
      T* kept = heads.kept == nullptr ? nullptr : heads.kept + row * heads.kept_stride + head * heads.head_size;
      const float inverse = inverse_rms_of(x, heads.head_size, eps);
      for (std::int64_t i = 0; i < heads.head_size; i += 16) {
        const std::int64_t count = heads.head_size - i;
        const V16 value = load_upto(x + i, count);
        if (kept != nullptr) store_upto(kept + i, value, count);
        store_upto(x + i, value * inverse * load_upto(weight + i, count), count);
      }
    }
  }
}

// With n = x r, r = (mean(x²) + eps)^(-1/2), y = n w:  dx = r (w dy - n mean(w dy n)),  dw = dy n.
template <typename T>
void head_norm_backward(const HeadRows<T>& heads, const T* weight, float eps, float* grad_weight) {
  for (std::int64_t row = 0; row < heads.rows; ++row) {
    for (std::int64_t head = 0; head < heads.heads; ++head) {
      T* grad = heads.values + row * heads.stride + head * heads.head_size;
      const T* x = heads.kept + row * heads.kept_stride + head * heads.head_size;
      const float inverse = inverse_rms_of(x, heads.head_size, eps);
      V16 dots{};
      for (std::int64_t i = 0; i < heads.head_size; i += 16) {
        const std::int64_t count = heads.head_size - i;
        const V16 dy = load_upto(grad + i, count), n = load_upto(x + i, count) * inverse;
        dots = fma(dy * load_upto(weight + i, count), n, dots);
        store_upto(grad_weight + i, fma(dy, n, load_upto(grad_weight + i, count)), count);
      }
      const float mean = sum_lanes(dots) / static_cast<float>(heads.head_size);
      for (std::int64_t i = 0; i < heads.head_size; i += 16) {
        const std::int64_t count = heads.head_size - i;
        const V16 dn = load_upto(grad + i, count) * load_upto(weight + i, count), n = load_upto(x + i, count) * inverse;
        store_upto(grad + i, (dn - n * mean) * inverse, count);
      }
    }
  }
}

template <typename T>
void fill_head_norm(Kernels<T>& table) {
  table.head_norm = head_norm<T>;
  table.head_norm_backward = head_norm_backward<T>;
}
template void fill_head_norm(Kernels<float>&);
template void fill_head_norm(Kernels<Bf16>&);

}  // namespace troupe::TROUPE_ISA
