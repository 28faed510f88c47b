#include "common/model/packed_weights.h"

namespace troupe {

template <typename T>
typename PackedWeights<T>::Block PackedWeights<T>::block_of(const Architecture& a, const ModelOffsets::Block& block, const T* qkv) {
  const std::int64_t attended = a.heads * a.head_size, width = attended + 2 * a.kv_heads * a.head_size;
  return {RightOperand<T>::transposed(qkv, width, a.hidden),
          RightOperand<T>::transposed(qkv + (block.output - block.qkv), a.hidden, attended),
          RightOperand<T>::transposed(qkv + (block.gate_up - block.qkv), 2 * a.intermediate, a.hidden),
          RightOperand<T>::transposed(qkv + (block.down - block.qkv), a.hidden, a.intermediate)};
}

template <typename T>
PackedWeights<T>::PackedWeights(const Parameters& parameters, const ModelOffsets& offsets) {
  const Architecture& a = parameters.architecture();
  const T* base = static_cast<const T*>(parameters.flat().const_data_ptr());
  for (const ModelOffsets::Block& block : offsets.blocks) blocks.push_back(block_of(a, block, base + block.qkv));
  if (!a.scores) head = RightOperand<T>::transposed(base + offsets.head, a.vocabulary, a.hidden);
}

template struct PackedWeights<float>;
template struct PackedWeights<Bf16>;

}  // namespace troupe
