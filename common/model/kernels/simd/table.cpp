#include "common/model/kernels/simd/table.h"

namespace troupe::TROUPE_ISA {

template <typename T>
Kernels<T> table() {
  Kernels<T> kernels{};
  fill_rms_norm(kernels);
  fill_head_norm(kernels);
  fill_rope(kernels);
  fill_attention(kernels);
  fill_attention_backward(kernels);
  fill_swiglu(kernels);
  fill_logits(kernels);
  fill_draw(kernels);
  fill_convert(kernels);
  fill_update(kernels);
  return kernels;
}
template Kernels<float> table();
template Kernels<Bf16> table();

}  // namespace troupe::TROUPE_ISA
