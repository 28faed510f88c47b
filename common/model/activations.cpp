#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/passes.h"

namespace troupe {

template <typename T>
void ActivationView<T>::lay_out(float* floats, T* values) {
  const std::int64_t streams = keeps_attention() ? 2 * layers_ + 1 : keep_ ? layers_ + 2 : 1;
  const std::int64_t attentions = keeps_attention() ? layers_ : 1;
  const auto take = [](auto* base, std::int64_t& used, std::int64_t count) {
    auto* at = base == nullptr ? nullptr : base + used;
    used += count;
    return at;
  };
  float_count_ = value_count_ = 0;
  residual_ = take(floats, float_count_, streams * rows_ * hidden_);
  if (keep_) {
    inverse_rms_ = take(floats, float_count_, (2 * layers_ + 1) * rows_);
    lse_ = take(floats, float_count_, layers_ * rows_ * heads_);
  }
  normed_ = take(values, value_count_, (keeps_all() ? 2 * layers_ + 1 : keep_ ? 2 : 1) * rows_ * hidden_);
  qkv_ = take(values, value_count_, attentions * rows_ * qkv_width_);
  unnormed_ = take(values, value_count_, attentions * rows_ * unnormed_width_);
  attended_ = take(values, value_count_, attentions * rows_ * attended_width_);
  gate_up_ = take(values, value_count_, (keeps_all() ? layers_ * rows_ : std::min(rows_, kMaxRows)) * gate_up_width_);
}

template <typename T>
ActivationView<T>::ActivationView(const ModelView<T>& model, std::int64_t rows, bool keep, Activations& storage)
    : rows_(rows),
      layers_(model.architecture.layers),
      hidden_(model.architecture.hidden),
      heads_(model.architecture.heads),
      qkv_width_(model.qkv_width()),
      unnormed_width_(keep && model.architecture.qk_norm ? model.turned_width() : 0),
      attended_width_(model.attended_width()),
      gate_up_width_(2 * model.architecture.intermediate),
      keep_(keep),
      recompute_(storage.recompute) {
  lay_out(nullptr, nullptr);
  const auto grow = [](at::Tensor& tensor, std::int64_t count, at::ScalarType dtype) {
    const bool fits = tensor.defined() && tensor.scalar_type() == dtype && tensor.numel() >= count;
    if (!fits) tensor = at::empty({count}, dtype);
  };
  grow(storage.floats, float_count_, at::kFloat);
  grow(storage.values, value_count_, dtype());
  storage.rows = rows;
  lay_out(data_of<float>(storage.floats), data_of<T>(storage.values));
}

template <typename T>
ActivationView<T>::ActivationView(const ModelView<T>& model, const Activations& storage)
    : rows_(storage.rows),
      layers_(model.architecture.layers),
      hidden_(model.architecture.hidden),
      heads_(model.architecture.heads),
      qkv_width_(model.qkv_width()),
      unnormed_width_(model.architecture.qk_norm ? model.turned_width() : 0),
      attended_width_(model.attended_width()),
      gate_up_width_(2 * model.architecture.intermediate),
      keep_(true),
      recompute_(storage.recompute) {
  check(storage.floats.defined() && storage.values.element_size() == sizeof(T), "activations come from a forward pass");
  lay_out(data_of<float>(storage.floats), data_of<T>(storage.values));
  check(storage.floats.numel() >= float_count_ && storage.values.numel() >= value_count_,
        "activations belong to this model");
}

template class ActivationView<float>;
template class ActivationView<Bf16>;

PackedSequences::Rows PackedSequences::rows(std::int64_t sequence) const {
  const auto begin = [&](std::int64_t s) { return sequence_starts[static_cast<std::size_t>(s)]; };
  const std::int64_t first = begin(sequence), tokens = begin(sequence + 1) - first, before = prefix(sequence);
  if (before < 0) return {first, tokens, first, 0};
  return {first, tokens, begin(before), begin(before + 1) - begin(before)};
}

std::vector<std::int64_t> packed_positions(const PackedSequences& batch) {
  std::vector<std::int64_t> positions;
  positions.reserve(static_cast<std::size_t>(batch.ids_T.numel()));
  for (std::int64_t s = 0; s < batch.sequences(); ++s) {
    const PackedSequences::Rows rows = batch.rows(s);
    for (std::int64_t i = 0; i < rows.tokens; ++i) positions.push_back(rows.prefix_tokens + i);
  }
  return positions;
}

}  // namespace troupe
