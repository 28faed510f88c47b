#pragma once

#include <algorithm>
#include <functional>
#include <utility>

#include <ATen/Parallel.h>

#include "common/model/gradient_units.h"
#include "common/model/kernels/gemm.h"
#include "common/model/kernels/kernels.h"
#include "common/model/transformer.h"

// What the forward and the backward pass share. T is the compute type: float or Bf16.

namespace troupe {

/// The first element of a contiguous tensor as the kernels' type.
template <typename T>
T* data_of(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

/// A unit's parameters or gradients, by their offsets in the flat vector.
template <typename T>
class UnitView {
 public:
  UnitView() = default;
  UnitView(at::Tensor unit, std::int64_t begin) : unit_(std::move(unit)), begin_(begin) {}
  T* at(std::int64_t offset) const { return data_of<T>(unit_) + (offset - begin_); }
  at::Tensor matrix(std::int64_t offset, std::int64_t rows, std::int64_t columns) const {
    return unit_.narrow(0, offset - begin_, rows * columns).view({rows, columns});
  }

 private:
  at::Tensor unit_;
  std::int64_t begin_ = 0;
};

/// The model as both passes see it.
template <typename T>
struct ModelView {
  const Architecture& architecture;
  const ModelOffsets& offsets;
  const Parameters& parameters;
  const float* rope;
  /// Units are numbered in the order of the layout: 0 the embedding, layer + 1 a block, layers + 1 the final norm and the head.
  UnitView<T> unit(std::int64_t number, std::int64_t next = -1) const { return {parameters.unit(number, next), unit_begin(number)}; }
  std::int64_t unit_begin(std::int64_t number) const { return parameters.layout().units[static_cast<std::size_t>(number)]; }
  std::int64_t qkv_width() const { return (architecture.heads + 2 * architecture.kv_heads) * architecture.head_size; }
  /// Of the heads that are turned (and normed, where there are such norms): q and k.
  std::int64_t turned_width() const { return (architecture.heads + architecture.kv_heads) * architecture.head_size; }
  std::int64_t attended_width() const { return architecture.heads * architecture.head_size; }
  std::int64_t group() const { return architecture.heads / architecture.kv_heads; }
};

/// Buffers of a forward pass over `rows` rows. Residual streams and normed rows are numbered in the order of use: 2 * layer
/// before attention, 2 * layer + 1 before the MLP, 2 * layers at the end. Layers share the buffers of what is not kept for a backward
/// pass (Recompute says what that is); the last normed rows, which are the result, are always there.
template <typename T>
class ActivationView {
 public:
  /// Makes room in `storage`.
  ActivationView(const ModelView<T>& model, std::int64_t rows, bool keep, Activations& storage);
  /// Views what a forward pass kept.
  ActivationView(const ModelView<T>& model, const Activations& storage);

  std::int64_t rows() const { return rows_; }
  static constexpr at::ScalarType dtype() { return sizeof(T) == sizeof(float) ? at::kFloat : at::kBFloat16; }
  float* residual(std::int64_t stream) const { return residual_ + stream_place(stream) * rows_ * hidden_; }
  T* normed(std::int64_t stream) const { return normed_ + normed_offset(stream); }
  float* inverse_rms(std::int64_t stream) const { return keep_ ? inverse_rms_ + stream * rows_ : nullptr; }
  T* qkv(std::int64_t layer) const { return qkv_ + attention_place(layer) * rows_ * qkv_width_; }
  /// q and k before their norms, rows of turned_width; null where there are no norms or nothing is kept.
  T* unnormed(std::int64_t layer) const {
    return unnormed_width_ == 0 ? nullptr : unnormed_ + attention_place(layer) * rows_ * unnormed_width_;
  }
  T* attended(std::int64_t layer) const { return attended_ + attention_place(layer) * rows_ * attended_width_; }
  float* lse(std::int64_t layer) const { return keep_ ? lse_ + layer * rows_ * heads_ : nullptr; }
  /// Rows from `row` on; where they are not kept, of the present chunk alone.
  T* gate_up(std::int64_t layer, std::int64_t row) const {
    return keeps_all() ? gate_up_ + (layer * rows_ + row) * gate_up_width_ : gate_up_;
  }
  /// The offset of normed(stream) in storage.values.
  std::int64_t normed_offset(std::int64_t stream) const {
    return (keeps_all() ? stream : keep_ && stream == 2 * layers_ ? 1 : 0) * rows_ * hidden_;
  }
  /// What backward must compute again.
  Recompute recompute() const { return recompute_; }

 private:
  bool keeps_all() const { return keep_ && recompute_ == Recompute::kNone; }
  bool keeps_attention() const { return keep_ && recompute_ != Recompute::kBlock; }
  std::int64_t attention_place(std::int64_t layer) const { return keeps_attention() ? layer : 0; }
  /// Of the streams between attention and MLP one is left where blocks are computed again.
  std::int64_t stream_place(std::int64_t stream) const {
    if (keeps_attention()) return stream;
    return !keep_ ? 0 : stream % 2 == 0 ? stream / 2 : layers_ + 1;
  }
  void lay_out(float* floats, T* values);

  std::int64_t rows_, layers_, hidden_, heads_, qkv_width_, unnormed_width_, attended_width_, gate_up_width_;
  bool keep_;
  Recompute recompute_;
  float *residual_ = nullptr, *inverse_rms_ = nullptr, *lse_ = nullptr;
  T *normed_ = nullptr, *qkv_ = nullptr, *unnormed_ = nullptr, *attended_ = nullptr, *gate_up_ = nullptr;
  std::int64_t float_count_ = 0, value_count_ = 0;
};

/// Position of each row in its sequence.
std::vector<std::int64_t> packed_positions(const PackedSequences& batch);

/// The q heads (or k heads) of rows [begin, end) of a layer in `values`, which lies as view.qkv(layer) does.
template <typename T>
HeadRows<T> head_rows(const ModelView<T>& model, const ActivationView<T>& view, std::int64_t layer, T* values, bool keys,
                      std::int64_t begin, std::int64_t end) {
  const Architecture& a = model.architecture;
  const std::int64_t first = keys ? a.heads * a.head_size : 0, width = model.turned_width();
  T* kept = view.unnormed(layer);
  return {values + begin * model.qkv_width() + first, model.qkv_width(),  kept == nullptr ? nullptr : kept + begin * width + first,
          width, end - begin, keys ? a.kv_heads : a.heads, a.head_size};
}

/// Runs work(begin, end) over rows, in parallel where a row's `elements` make it worth it.
template <typename Work>
void for_rows(std::int64_t rows, std::int64_t elements, const Work& work) {
  constexpr std::int64_t kElementsWorthAThread = 16384;
  at::parallel_for(0, rows, std::max<std::int64_t>(1, kElementsWorthAThread / elements), work);
}

/// Calls `run` with a null pointer of the compute type of `dtype`.
template <typename Run>
auto with_compute_type(at::ScalarType dtype, const Run& run) {
  return dtype == at::kFloat ? run(static_cast<float*>(nullptr)) : run(static_cast<Bf16*>(nullptr));
}

/// The logits [N, V] in fp32 of hidden rows through a packed head.
template <typename T>
at::Tensor logits_of(const at::Tensor& hidden_NH, const RightOperand<T>& head, std::int64_t vocabulary);

/// `packed`: the weights ready for a forward, or null where each block's are packed when they are needed to compute again what the
/// forward did not keep.
template <typename T>
void run_backward(const ModelView<T>& model, const PackedWeights<T>* packed, const PackedSequences& batch, const Activations& saved,
                  const at::Tensor& grad_hidden_TH, GradientUnits& gradients);

}  // namespace troupe
