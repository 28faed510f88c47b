#pragma once

#include <algorithm>

#include <ATen/core/Tensor.h>

#include "common/model/architecture.h"
#include "common/model/transformer.h"

// T rows (tokens), H hidden, I intermediate, D head size.

namespace troupe {

/// Fewer rows than these go through the down projection as so many where rows must be exact: for its long inner dimension cuBLASLt
/// has only slow algorithms without split-K there.
inline constexpr std::int64_t kLeastActivatedRows = 128;

/// What a forward pass on a GPU computes, as matrices in Activations' buffers. Residual streams and normed rows are numbered in the
/// order of use: 2 * layer before attention, 2 * layer + 1 before the MLP, 2 * layers at the end. Layers share the buffers of
/// what is not kept for a backward pass (Recompute says what that is); the last normed rows, which are the result, are always there.
class CudaActivations {
 public:
  /// Makes room in `storage` for `rows` rows.
  CudaActivations(const Architecture& architecture, std::int64_t rows, bool keep, Activations& storage);
  /// Views what a forward pass kept.
  CudaActivations(const Architecture& architecture, const Activations& storage);

  std::int64_t rows() const { return rows_; }
  /// Whether a backward pass follows.
  bool keeps() const { return keep_; }
  at::Tensor residual_TH(std::int64_t stream) const { return floats(residual_ + stream_place(stream) * rows_ * hidden_, hidden_); }
  at::Tensor normed_TH(std::int64_t stream) const {
    return values(normed_ + (keeps_all() ? stream : keep_ && stream == 2 * layers_ ? 1 : 0) * rows_ * hidden_, hidden_);
  }
  /// [T]; null memory where nothing is kept.
  float* inverse_rms(std::int64_t stream) const;
  /// [T, (heads + 2 kv_heads) D]
  at::Tensor qkv(std::int64_t layer) const { return values(qkv_ + attention_place(layer) * rows_ * qkv_width_, qkv_width_); }
  /// q and k before their norms, [T, (heads + kv_heads) D]; undefined where there are no norms or nothing is kept.
  at::Tensor unnormed(std::int64_t layer) const;
  /// [T, 2 I]
  at::Tensor gate_up(std::int64_t layer) const { return values(gate_up_ + (keeps_all() ? layer : 0) * rows_ * gate_up_width_, gate_up_width_); }
  /// silu(gate) * up, [at least T, I]; rows behind T hold anything.
  at::Tensor activated(std::int64_t layer) const {
    const std::int64_t rows = std::max(rows_, kLeastActivatedRows);
    return values_.narrow(0, activated_ + (keeps_all() ? layer : 0) * rows * intermediate_, rows * intermediate_).view({rows, intermediate_});
  }
  /// What backward must compute again.
  Recompute recompute() const { return recompute_; }
  bool keeps_attention() const { return keep_ && recompute_ != Recompute::kBlock; }

 private:
  bool keeps_all() const { return keep_ && recompute_ == Recompute::kNone; }
  std::int64_t attention_place(std::int64_t layer) const { return keeps_attention() ? layer : 0; }
  /// Of the streams between attention and MLP one is left where blocks are computed again.
  std::int64_t stream_place(std::int64_t stream) const {
    if (keeps_attention()) return stream;
    return !keep_ ? 0 : stream % 2 == 0 ? stream / 2 : layers_ + 1;
  }
  at::Tensor floats(std::int64_t offset, std::int64_t width) const { return floats_.narrow(0, offset, rows_ * width).view({rows_, width}); }
  at::Tensor values(std::int64_t offset, std::int64_t width) const { return values_.narrow(0, offset, rows_ * width).view({rows_, width}); }
  void lay_out();

  std::int64_t rows_, layers_, hidden_, qkv_width_, unnormed_width_, gate_up_width_, intermediate_;
  bool keep_;
  Recompute recompute_;
  std::int64_t residual_ = 0, inverse_rms_ = 0, normed_ = 0, qkv_ = 0, unnormed_ = 0, gate_up_ = 0, activated_ = 0;  // offsets
  std::int64_t float_count_ = 0, value_count_ = 0;
  at::Tensor floats_, values_;
};

}  // namespace troupe
