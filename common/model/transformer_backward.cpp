#include <cstring>

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/attention.h"
#include "common/model/forward_pass.h"

namespace troupe {
namespace {

/// The backward pass in the order of the layers' reversal. `stream_` holds dL/d(residual stream), which each block adds to.
template <typename T>
class BackwardPass {
 public:
  BackwardPass(const ModelView<T>& model, const PackedWeights<T>* packed, const PackedSequences& batch, const Activations& saved,
               GradientUnits& gradients)
      : model_(model),
        batch_(batch),
        view_(model, saved),
        positions_(packed_positions(batch)),
        gradients_(gradients),
        chunks_(view_.rows()),
        again_(model, packed, view_, positions_) {
    find_families();
    const Architecture& a = model.architecture;
    const std::int64_t rows = view_.rows(), chunk = chunks_.largest();
    stream_storage_ = at::zeros({rows * a.hidden}, at::kFloat);
    stream_ = data_of<float>(stream_storage_);
    value_storage_ = at::empty({rows * (a.hidden + model.qkv_width() + model.attended_width()) +
                                chunk * (4 * a.intermediate + a.hidden)},
                               view_.dtype());
    T* next = data_of<T>(value_storage_);
    const auto take = [&next](std::int64_t count) { return std::exchange(next, next + count); };
    if constexpr (sizeof(T) == sizeof(float)) {
      rounded_ = stream_;
    } else {
      rounded_ = take(rows * a.hidden);
    }
    grad_qkv_ = take(rows * model.qkv_width());
    grad_attended_ = take(rows * model.attended_width());
    grad_activated_ = take(chunk * a.intermediate);
    activated_ = take(chunk * a.intermediate);
    grad_gate_up_ = take(chunk * 2 * a.intermediate);
    grad_normed_ = take(chunk * a.hidden);
  }

  void run(const T* grad_hidden) {
    const Architecture& a = model_.architecture;
    enter(a.layers + 1);
    for (std::int64_t chunk = 0; chunk < chunks_.count; ++chunk) {
      const std::int64_t begin = chunks_.begin(chunk), end = chunks_.begin(chunk + 1);
      norm(2 * a.layers, begin, end, grad_hidden + begin * a.hidden);
    }
    gradients_.finished(a.layers + 1);
    for (std::int64_t layer = a.layers - 1; layer >= 0; --layer) {
      enter(layer + 1);
      compute_block(layer);
      gradients_.finished(layer + 1);
    }
    embedding();
    gradients_.finished(0);
  }

 private:
  static constexpr std::int64_t kNormRows = 64;  // rows whose weight gradients are added together before the others'

  /// A block's matrices as the gradients of its inputs take them.
  struct Weights {
    RightOperand<T> qkv, output, gate_up, down;
    Weights(const ModelView<T>& model, const ModelOffsets::Block& block, const UnitView<T>& unit) {
      const Architecture& a = model.architecture;
      qkv = RightOperand<T>::plain(unit.at(block.qkv), model.qkv_width(), a.hidden);
      output = RightOperand<T>::plain(unit.at(block.output), a.hidden, model.attended_width());
      gate_up = RightOperand<T>::plain(unit.at(block.gate_up), 2 * a.intermediate, a.hidden);
      down = RightOperand<T>::plain(unit.at(block.down), a.hidden, a.intermediate);
    }
  };

  /// Makes a unit the present one; after a block comes the one before it, whose parameters the embedding's gradient does not need.
  void enter(std::int64_t number) {
    unit_ = model_.unit(number, number > 1 ? number - 1 : -1);
    grads_ = {gradients_.unit(number), model_.unit_begin(number)};
  }

  void compute_block(std::int64_t layer) {
    const Weights weights(model_, block(layer), unit_);
    if (view_.recompute() != Recompute::kNone) again_.enter(layer, unit_);
    if (view_.recompute() == Recompute::kBlock) {
      again_.repeat_attention(layer, [&](std::int64_t of) { attend_packed(model_, view_, of, batch_); });
    }
    for (std::int64_t chunk = 0; chunk < chunks_.count; ++chunk) {
      mlp_and_output(layer, weights, chunks_.begin(chunk), chunks_.begin(chunk + 1));
    }
    attention(layer);
    for (std::int64_t chunk = 0; chunk < chunks_.count; ++chunk) qkv(layer, weights, chunks_.begin(chunk), chunks_.begin(chunk + 1));
  }

  const ModelOffsets::Block& block(std::int64_t layer) const {
    return model_.offsets.blocks[static_cast<std::size_t>(layer)];
  }

  /// Adds the gradient through the norm of `stream` to stream_; the weight's in a fixed order whatever the threads.
  void norm(std::int64_t stream, std::int64_t begin, std::int64_t end, const T* grad_normed) {
    const std::int64_t hidden = model_.architecture.hidden, layer = stream / 2;
    const std::int64_t weight = layer == model_.architecture.layers ? model_.offsets.final_norm
                                : stream % 2 == 0                   ? block(layer).attention_norm
                                                                    : block(layer).mlp_norm;
    const std::int64_t parts = (end - begin + kNormRows - 1) / kNormRows;
    std::vector<float> partial(static_cast<std::size_t>(parts * hidden), 0.0f);
    at::parallel_for(0, parts, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t part = first; part < last; ++part) {
        const std::int64_t row = begin + part * kNormRows, rows = std::min(kNormRows, end - row);
        kernels<T>().rms_norm_backward(grad_normed + (row - begin) * hidden, view_.residual(stream) + row * hidden,
                                       view_.inverse_rms(stream) + row, unit_.at(weight), rows, hidden,
                                       stream_ + row * hidden, sizeof(T) == 4 ? nullptr : rounded_ + row * hidden,
                                       partial.data() + part * hidden);
      }
    });
    if (place() == 0) kernels<float>().add_rows(partial.data(), parts, hidden, grads_.at(weight));
  }

  void mlp_and_output(std::int64_t layer, const Weights& weights, std::int64_t begin, std::int64_t end) {
    const Architecture& a = model_.architecture;
    const std::int64_t rows = end - begin, inner = a.intermediate, width = model_.attended_width();
    const T* grad = rounded_ + begin * a.hidden;
    if (view_.recompute() != Recompute::kNone) again_.repeat_gate_up(layer, begin, end);
    weights.down.multiply(grad, rows, grad_activated_);
    const T* gate_up = view_.gate_up(layer, begin);
    for_rows(rows, inner, [&](std::int64_t from, std::int64_t to) {
      kernels<T>().swiglu_backward(gate_up + from * 2 * inner, grad_activated_ + from * inner, to - from, inner,
                                   grad_gate_up_ + from * 2 * inner, activated_ + from * inner);
    });
    add_weight_gradient(grad, activated_, grads_.at(block(layer).down), rows, a.hidden, inner);
    add_weight_gradient(grad_gate_up_, view_.normed(2 * layer + 1) + begin * a.hidden, grads_.at(block(layer).gate_up),
                        rows, 2 * inner, a.hidden);
    multiply_jointly<T>(model_, weights.gate_up, grad_gate_up_, rows, grad_normed_);
    norm(2 * layer + 1, begin, end, grad_normed_);
    weights.output.multiply(grad, rows, grad_attended_ + begin * width);
    add_weight_gradient(grad, view_.attended(layer) + begin * width, grads_.at(block(layer).output), rows, a.hidden,
                        width);
  }

  void find_families() {
    std::vector<std::size_t> family_of;  // of each sequence
    for (std::int64_t s = 0; s < batch_.sequences(); ++s) {
      const PackedSequences::Rows rows = batch_.rows(s);
      const std::int64_t prefix = batch_.prefix(s);
      family_of.push_back(prefix < 0 ? families_.size() : family_of[static_cast<std::size_t>(prefix)]);
      if (prefix < 0) {
        families_.push_back({rows.begin, rows.tokens, {}});
      } else {
        families_[family_of.back()].continuations.push_back({rows.begin - rows.prefix_begin, rows.tokens});
      }
      longest_ = std::max(longest_, rows.prefix_tokens + rows.tokens);
    }
  }

  void attention(std::int64_t layer) {
    const Architecture& a = model_.architecture;
    const std::int64_t width = model_.qkv_width();
    at::parallel_for(0, std::ssize(families_) * a.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
      const at::Tensor scratch = at::empty({attention_backward_scratch(longest_, a.head_size)}, at::kFloat);
      for (std::int64_t item = begin; item < end; ++item) {
        const Family& family = families_[static_cast<std::size_t>(item / a.kv_heads)];
        const std::int64_t row = family.begin, kv_head = item % a.kv_heads, head = kv_head * model_.group();
        const std::int64_t query = row * width + head * a.head_size;
        const std::int64_t key = row * width + (a.heads + kv_head) * a.head_size, value = key + a.kv_heads * a.head_size;
        const std::int64_t output = row * model_.attended_width() + head * a.head_size;
        const T* qkv = view_.qkv(layer);
        kernels<T>().attend_backward(
            {qkv + query, qkv + key, qkv + value, width, view_.attended(layer) + output, grad_attended_ + output,
             model_.attended_width(), view_.lse(layer) + row * a.heads + head, a.heads, grad_qkv_ + query, grad_qkv_ + key,
             grad_qkv_ + value, family.tokens, model_.group(), a.head_size, family.continuations.data(),
             std::ssize(family.continuations)},
            data_of<float>(scratch));
      }
    });
  }

  void qkv(std::int64_t layer, const Weights& weights, std::int64_t begin, std::int64_t end) {
    const Architecture& a = model_.architecture;
    const std::int64_t rows = end - begin, width = model_.qkv_width();
    T* grad = grad_qkv_ + begin * width;
    if (view_.recompute() != Recompute::kNone) again_.norm(2 * layer, begin, end);
    for_rows(rows, width, [&](std::int64_t from, std::int64_t to) {
      kernels<T>().bias_rope(grad + from * width, nullptr, positions_.data() + begin + from, model_.rope, to - from,
                             a.heads + 2 * a.kv_heads, a.heads + a.kv_heads, a.head_size, -1.0f);
    });
    if (a.qk_norm) head_norms(layer, begin, end);
    if (block(layer).qkv_bias >= 0) kernels<T>().add_rows(grad, rows, width, grads_.at(block(layer).qkv_bias));
    add_weight_gradient(grad, view_.normed(2 * layer) + begin * a.hidden, grads_.at(block(layer).qkv), rows, width,
                        a.hidden);
    multiply_jointly<T>(model_, weights.qkv, grad, rows, grad_normed_);
    norm(2 * layer, begin, end, grad_normed_);
  }

  /// Makes rows of grad_qkv_ the gradients of q and k before their norms; the weights' in a fixed order whatever the threads.
  void head_norms(std::int64_t layer, std::int64_t begin, std::int64_t end) {
    const std::int64_t size = model_.architecture.head_size, parts = (end - begin + kNormRows - 1) / kNormRows;
    for (const bool keys : {false, true}) {
      const std::int64_t weight = keys ? block(layer).k_norm : block(layer).q_norm;
      std::vector<float> partial(static_cast<std::size_t>(parts * size), 0.0f);
      at::parallel_for(0, parts, 1, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t part = first; part < last; ++part) {
          const std::int64_t row = begin + part * kNormRows;
          kernels<T>().head_norm_backward(head_rows(model_, view_, layer, grad_qkv_, keys, row, std::min(row + kNormRows, end)),
                                          unit_.at(weight), static_cast<float>(model_.architecture.rms_eps),
                                          partial.data() + part * size);
        }
      });
      kernels<float>().add_rows(partial.data(), parts, size, grads_.at(weight));
    }
  }

  void embedding() {
    const std::int64_t hidden = model_.architecture.hidden;
    const std::int64_t* ids = data_of<std::int64_t>(batch_.ids_T);
    grads_ = {gradients_.unit(0), model_.unit_begin(0)};
    const std::int64_t rows = view_.rows(), ranks = model_.parameters.cut() ? model_.parameters.cut()->group().size() : 1;
    for (std::int64_t row = rows * place() / ranks; row < rows * (place() + 1) / ranks; ++row) {
      kernels<float>().add_rows(stream_ + row * hidden, 1, hidden, grads_.at(model_.offsets.embedding + ids[row] * hidden));
    }
  }

  /// Of this rank among those that hold the model together. What all of them know, the gradients of norms and rows of the embedding, each
  /// adds a share of.
  std::int64_t place() const { return model_.parameters.cut() ? model_.parameters.cut()->group().rank() : 0; }

  /// A sequence without prefix, and those that go on behind it, counted from its first row.
  struct Family {
    std::int64_t begin, tokens;
    std::vector<RowRange> continuations;
  };

  const ModelView<T>& model_;
  const PackedSequences& batch_;
  ActivationView<T> view_;
  std::vector<std::int64_t> positions_;
  std::vector<Family> families_;
  std::int64_t longest_ = 0;  // positions
  GradientUnits& gradients_;
  UnitView<T> unit_;       // the present unit's
  UnitView<float> grads_;
  RowChunks chunks_;
  ForwardPass<T> again_;  // for what was not kept
  at::Tensor stream_storage_, value_storage_;
  float* stream_;
  T *rounded_, *grad_qkv_, *grad_attended_, *grad_activated_, *activated_, *grad_gate_up_, *grad_normed_;
};

}  // namespace

template <typename T>
void run_backward(const ModelView<T>& model, const PackedWeights<T>* packed, const PackedSequences& batch, const Activations& saved,
                  const at::Tensor& grad_hidden_TH, GradientUnits& gradients) {
  check(saved.rows == batch.ids_T.numel(), "activations are those of this batch");
  check(grad_hidden_TH.is_contiguous() && grad_hidden_TH.numel() == saved.rows * model.architecture.hidden &&
            grad_hidden_TH.element_size() == sizeof(T),
        "grad_hidden is contiguous [T, H] of the compute dtype");
  BackwardPass<T>(model, packed, batch, saved, gradients).run(data_of<T>(grad_hidden_TH));
}
template void run_backward(const ModelView<float>&, const PackedWeights<float>*, const PackedSequences&, const Activations&,
                           const at::Tensor&, GradientUnits&);
template void run_backward(const ModelView<Bf16>&, const PackedWeights<Bf16>*, const PackedSequences&, const Activations&,
                           const at::Tensor&, GradientUnits&);

}  // namespace troupe
