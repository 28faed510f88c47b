#include "common/model/packed_weights.h"

namespace troupe {

template <typename T>
PackedWeights<T>::PackedWeights(const Parameters& parameters, const ModelOffsets& offsets) {
  const Architecture& a = parameters.architecture();
  const T* base = static_cast<const T*>(parameters.flat().const_data_ptr());
  const std::int64_t attended = a.heads * a.head_size, qkv = attended + 2 * a.kv_heads * a.head_size;
  for (const ModelOffsets::Block& block : offsets.blocks) {
    blocks.push_back({RightOperand<T>::transposed(base + block.qkv, qkv, a.hidden),
                      RightOperand<T>::transposed(base + block.output, a.hidden, attended),
                      RightOperand<T>::transposed(base + block.gate_up, 2 * a.intermediate, a.hidden),
                      RightOperand<T>::transposed(base + block.down, a.hidden, a.intermediate)});
  }
  if (!a.scores) head = RightOperand<T>::transposed(base + offsets.head, a.vocabulary, a.hidden);
}

template struct PackedWeights<float>;
template struct PackedWeights<Bf16>;

}  // namespace troupe
