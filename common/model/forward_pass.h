#pragma once

#include <array>

#include <ATen/Functions.h>

#include "common/model/packed_weights.h"
#include "common/model/passes.h"
#include "common/model/tensor_cut.h"

namespace troupe {

/// out[rows, hidden] = x · right; where ranks hold the model together, the sum of their products, rounded once.
template <typename T>
void multiply_jointly(const ModelView<T>& model, const RightOperand<T>& right, const T* x, std::int64_t rows, T* out) {
  const TensorCut* const cut = model.parameters.cut();
  if (cut == nullptr) return right.multiply(x, rows, out);
  const at::Tensor sum = at::empty({rows, model.architecture.hidden}, at::kFloat);
  right.multiply_to_float(x, rows, data_of<float>(sum));
  cut->group().sum_(sum);
  kernels<T>().from_float(data_of<float>(sum), sum.numel(), out);
}

/// A forward pass over rows: everything but attention goes row by row, in chunks that the GEMM treats alike. Refers to all of its
/// arguments. `packed`: all blocks' weights; null: each block's are packed when it is entered.
template <typename T>
class ForwardPass {
 public:
  ForwardPass(const ModelView<T>& model, const PackedWeights<T>* packed, const ActivationView<T>& activations,
              const std::vector<std::int64_t>& positions)
      : model_(model), packed_(packed), view_(activations), positions_(positions), chunks_(activations.rows()) {
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
    enter(0, model_.unit(1, 2));
    for (std::int64_t chunk = 0; chunk < chunks_.count; ++chunk) {
      norm(0, chunks_.begin(chunk), chunks_.begin(chunk + 1));
      project_qkv(0, chunks_.begin(chunk), chunks_.begin(chunk + 1));
    }
    const std::int64_t layers = model_.architecture.layers;
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      attend(layer);
      enter(layer + 1, model_.unit(layer + 2, layer + 1 < layers ? layer + 3 : unit_after_the_last()));
      for (std::int64_t chunk = 0; chunk < chunks_.count; ++chunk) {
        const std::int64_t begin = chunks_.begin(chunk), end = chunks_.begin(chunk + 1);
        project_output(layer, begin, end);
        project_mlp(layer, begin, end);
        if (layer + 1 < layers) project_qkv(layer + 1, begin, end);
      }
    }
  }

  /// From now on `unit` serves what has to do with the layer; one past the last: the final norm. Two neighbours are in use.
  void enter(std::int64_t layer, const UnitView<T>& unit) {
    Layer& entered = in_use_[layer % 2];
    entered.unit = unit;
    if (layer == model_.architecture.layers) return;
    const ModelOffsets::Block& block = model_.offsets.blocks[static_cast<std::size_t>(layer)];
    entered.weights = packed_ != nullptr ? packed_->blocks[static_cast<std::size_t>(layer)]
                                         : PackedWeights<T>::block_of(model_.architecture, block, unit.at(block.qkv));
  }

  /// Once more what an entered block computes of its input up to residual(2 * layer + 1), the same bits.
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
  struct Layer {
    UnitView<T> unit;
    typename PackedWeights<T>::Block weights;
  };
  const Layer& layer_of(std::int64_t layer) const { return in_use_[layer % 2]; }
  /// Whoever runs a model wants its head next: the embedding where they are tied.
  std::int64_t unit_after_the_last() const { return model_.offsets.head == model_.offsets.embedding ? 0 : -1; }

  void embed(const std::int64_t* ids) {
    const std::int64_t hidden = model_.architecture.hidden;
    const UnitView<T> unit = model_.unit(0, 1);
    for_rows(view_.rows(), hidden, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        kernels<T>().to_float(unit.at(model_.offsets.embedding + ids[row] * hidden), hidden,
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
    const T* weights = layer_of(layer).unit.at(weight);
    const float* before = view_.residual(delta == nullptr ? stream : stream - 1);
    float* inverse = view_.inverse_rms(stream);
    for_rows(end - begin, a.hidden, [&](std::int64_t from, std::int64_t to) {
      const std::int64_t at = (begin + from) * a.hidden;
      kernels<T>().add_rms_norm(before + at, delta == nullptr ? nullptr : delta + from * a.hidden,
                                weights, static_cast<float>(a.rms_eps), to - from, a.hidden,
                                view_.residual(stream) + at, view_.normed(stream) + at,
                                inverse == nullptr ? nullptr : inverse + begin + from);
    });
  }

  void project_qkv(std::int64_t layer, std::int64_t begin, std::int64_t end) {
    const Architecture& a = model_.architecture;
    const auto& block = model_.offsets.blocks[static_cast<std::size_t>(layer)];
    const std::int64_t width = model_.qkv_width();
    T* qkv = view_.qkv(layer) + begin * width;
    layer_of(layer).weights.qkv.multiply(view_.normed(2 * layer) + begin * a.hidden,
                                                                 end - begin, qkv);
    const T* bias = block.qkv_bias < 0 ? nullptr : layer_of(layer).unit.at(block.qkv_bias);
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
    kernels<T>().head_norm(head_rows(model_, view_, layer, qkv, false, begin, end), layer_of(layer).unit.at(block.q_norm), eps);
    kernels<T>().head_norm(head_rows(model_, view_, layer, qkv, true, begin, end), layer_of(layer).unit.at(block.k_norm), eps);
  }

  void project_output(std::int64_t layer, std::int64_t begin, std::int64_t end) {
    const std::int64_t width = model_.attended_width();
    multiply_jointly<T>(model_, layer_of(layer).weights.output, view_.attended(layer) + begin * width, end - begin, delta_);
    add_and_norm(2 * layer + 1, begin, end, delta_);
  }

  void project_gate_up(std::int64_t layer, std::int64_t begin, std::int64_t end) {
    layer_of(layer).weights.gate_up.multiply(
        view_.normed(2 * layer + 1) + begin * model_.architecture.hidden, end - begin, view_.gate_up(layer, begin));
  }

  void project_mlp(std::int64_t layer, std::int64_t begin, std::int64_t end) {
    project_gate_up(layer, begin, end);
    const std::int64_t inner = model_.architecture.intermediate, rows = end - begin;
    const T* gate_up = view_.gate_up(layer, begin);
    for_rows(rows, inner, [&](std::int64_t from, std::int64_t to) {
      kernels<T>().swiglu(gate_up + from * 2 * inner, to - from, inner, activated_ + from * inner);
    });
    multiply_jointly<T>(model_, layer_of(layer).weights.down, activated_, rows, delta_);
    add_and_norm(2 * layer + 2, begin, end, delta_);
  }

  const ModelView<T>& model_;
  const PackedWeights<T>* packed_;
  std::array<Layer, 2> in_use_;
  const ActivationView<T>& view_;
  const std::vector<std::int64_t>& positions_;
  RowChunks chunks_;
  at::Tensor scratch_;
  T *delta_, *activated_;
};

}  // namespace troupe
