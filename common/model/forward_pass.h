#pragma once

#include <ATen/Functions.h>

#include "common/model/packed_weights.h"
#include "common/model/passes.h"

namespace troupe {

/// A forward pass over rows: everything but attention goes row by row, in chunks that the GEMM treats alike. Refers to all of its
/// arguments.
template <typename T>
class ForwardPass {
 public:
  ForwardPass(const ModelView<T>& model, const PackedWeights<T>& weights, const ActivationView<T>& activations,
              const std::vector<std::int64_t>& positions)
      : model_(model), weights_(weights), view_(activations), positions_(positions), chunks_(activations.rows()) {
    const std::int64_t rows = chunks_.largest();
    const Architecture& a = model.architecture;
    scratch_ = at::zeros({rows * (a.hidden + a.intermediate)}, activations.dtype());
    delta_ = data_of<T>(scratch_);
    activated_ = delta_ + rows * a.hidden;
  }

  /// `attend(layer)` fills attended(layer) from qkv(layer) for all rows.
  template <typename Attend>
  void run(const std::int64_t* ids, const Attend& attend) {
    embed(ids);
    for (std::int64_t chunk = 0; chunk < chunks_.count; ++chunk) {
      norm(0, chunks_.begin(chunk), chunks_.begin(chunk + 1));
      project_qkv(0, chunks_.begin(chunk), chunks_.begin(chunk + 1));
    }
    const std::int64_t layers = model_.architecture.layers;
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      attend(layer);
      for (std::int64_t chunk = 0; chunk < chunks_.count; ++chunk) {
        const std::int64_t begin = chunks_.begin(chunk), end = chunks_.begin(chunk + 1);
        project_output(layer, begin, end);
        project_mlp(layer, begin, end);
        if (layer + 1 < layers) project_qkv(layer + 1, begin, end);
      }
    }
  }

  /// Once more what a block computes of its input up to residual(2 * layer + 1), the same bits.
  template <typename Attend>
  void repeat_attention(std::int64_t layer, const Attend& attend) {
    for (std::int64_t chunk = 0; chunk < chunks_.count; ++chunk) {
      norm(2 * layer, chunks_.begin(chunk), chunks_.begin(chunk + 1));
      project_qkv(layer, chunks_.begin(chunk), chunks_.begin(chunk + 1));
    }
    attend(layer);
    for (std::int64_t chunk = 0; chunk < chunks_.count; ++chunk) {
      project_output(layer, chunks_.begin(chunk), chunks_.begin(chunk + 1));
    }
  }

  /// Once more the rows of gate and up, from residual(2 * layer + 1), for a chunk's rows.
  void repeat_gate_up(std::int64_t layer, std::int64_t begin, std::int64_t end) {
    norm(2 * layer + 1, begin, end);
    project_gate_up(layer, begin, end);
  }

  /// The normed rows of a residual stream that is there.
  void norm(std::int64_t stream, std::int64_t begin, std::int64_t end) { add_and_norm(stream, begin, end, nullptr); }

 private:
  void embed(const std::int64_t* ids) {
    const std::int64_t hidden = model_.architecture.hidden;
    for_rows(view_.rows(), hidden, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        kernels<T>().to_float(model_.parameters + model_.offsets.embedding + ids[row] * hidden, hidden,
                              view_.residual(0) + row * hidden);
      }
    });
  }

  /// residual(stream) = residual(stream - 1) + delta, or itself where there is none; and its normed rows.
  void add_and_norm(std::int64_t stream, std::int64_t begin, std::int64_t end, const T* delta) {
    const Architecture& a = model_.architecture;
    const std::int64_t layer = stream / 2;
    const std::int64_t weight = layer == a.layers  ? model_.offsets.final_norm
                                : stream % 2 == 0 ? model_.offsets.blocks[static_cast<std::size_t>(layer)].attention_norm
                                                  : model_.offsets.blocks[static_cast<std::size_t>(layer)].mlp_norm;
    const float* before = view_.residual(delta == nullptr ? stream : stream - 1);
    float* inverse = view_.inverse_rms(stream);
    for_rows(end - begin, a.hidden, [&](std::int64_t from, std::int64_t to) {
      const std::int64_t at = (begin + from) * a.hidden;
      kernels<T>().add_rms_norm(before + at, delta == nullptr ? nullptr : delta + from * a.hidden,
                                model_.parameters + weight, static_cast<float>(a.rms_eps), to - from, a.hidden,
                                view_.residual(stream) + at, view_.normed(stream) + at,
                                inverse == nullptr ? nullptr : inverse + begin + from);
    });
  }

  void project_qkv(std::int64_t layer, std::int64_t begin, std::int64_t end) {
    const Architecture& a = model_.architecture;
    const auto& block = model_.offsets.blocks[static_cast<std::size_t>(layer)];
    const std::int64_t width = model_.qkv_width();
    T* qkv = view_.qkv(layer) + begin * width;
    weights_.blocks[static_cast<std::size_t>(layer)].qkv.multiply(view_.normed(2 * layer) + begin * a.hidden,
                                                                 end - begin, qkv);
    const T* bias = block.qkv_bias < 0 ? nullptr : model_.parameters + block.qkv_bias;
    for_rows(end - begin, width, [&](std::int64_t from, std::int64_t to) {
      if (a.qk_norm) norm_heads(layer, begin + from, begin + to);
      kernels<T>().bias_rope(qkv + from * width, bias, positions_.data() + begin + from, model_.rope, to - from,
                             a.heads + 2 * a.kv_heads, a.heads + a.kv_heads, a.head_size, 1.0f);
    });
  }

  void norm_heads(std::int64_t layer, std::int64_t begin, std::int64_t end) {
    const auto& block = model_.offsets.blocks[static_cast<std::size_t>(layer)];
    const auto eps = static_cast<float>(model_.architecture.rms_eps);
    T* qkv = view_.qkv(layer);
    kernels<T>().head_norm(head_rows(model_, view_, layer, qkv, false, begin, end), model_.parameters + block.q_norm, eps);
    kernels<T>().head_norm(head_rows(model_, view_, layer, qkv, true, begin, end), model_.parameters + block.k_norm, eps);
  }

  void project_output(std::int64_t layer, std::int64_t begin, std::int64_t end) {
    const std::int64_t width = model_.attended_width();
    weights_.blocks[static_cast<std::size_t>(layer)].output.multiply(view_.attended(layer) + begin * width, end - begin, delta_);
    add_and_norm(2 * layer + 1, begin, end, delta_);
  }

  void project_gate_up(std::int64_t layer, std::int64_t begin, std::int64_t end) {
    weights_.blocks[static_cast<std::size_t>(layer)].gate_up.multiply(
        view_.normed(2 * layer + 1) + begin * model_.architecture.hidden, end - begin, view_.gate_up(layer, begin));
  }

  void project_mlp(std::int64_t layer, std::int64_t begin, std::int64_t end) {
    project_gate_up(layer, begin, end);
    const std::int64_t inner = model_.architecture.intermediate, rows = end - begin;
    const T* gate_up = view_.gate_up(layer, begin);
    for_rows(rows, inner, [&](std::int64_t from, std::int64_t to) {
      kernels<T>().swiglu(gate_up + from * 2 * inner, to - from, inner, activated_ + from * inner);
    });
    weights_.blocks[static_cast<std::size_t>(layer)].down.multiply(activated_, rows, delta_);
    add_and_norm(2 * layer + 2, begin, end, delta_);
  }

  const ModelView<T>& model_;
  const PackedWeights<T>& weights_;
  const ActivationView<T>& view_;
  const std::vector<std::int64_t>& positions_;
  RowChunks chunks_;
  at::Tensor scratch_;
  T *delta_, *activated_;
};

}  // namespace troupe
