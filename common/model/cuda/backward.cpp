#include <algorithm>
#include <mutex>
#include <tuple>
#include <utility>

#include <ATen/Context.h>
#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/cuda/activations.h"
#include "common/model/cuda/backward_kernels.h"
#include "common/model/cuda/cuda_passes.h"
#include "common/model/cuda/device.h"
#include "common/model/cuda/forward_kernels.h"
#include "common/model/cuda/gemm.h"
#include "common/model/cuda/hopper/attention_backward.h"
#include "common/model/cuda/hopper/swiglu.h"
#include "common/model/cuda/packed_inputs.h"
#include "common/model/passes.h"
#include "common/model/tensor_cut.h"

namespace troupe {
namespace {

/// While it lives ATen takes its deterministic kernels: flash attention's backward then adds in a fixed order. The settings are the
/// process's, so one thread at a time has one.
class DeterministicAten {
 public:
  DeterministicAten()
      : lock_(mutex_),
        algorithms_(at::globalContext().deterministicAlgorithms()),
        warn_only_(at::globalContext().deterministicAlgorithmsWarnOnly()),
        fill_(at::globalContext().deterministicFillUninitializedMemory()) {
    at::globalContext().setDeterministicAlgorithms(true, false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
  }
  ~DeterministicAten() {
    at::globalContext().setDeterministicAlgorithms(algorithms_, warn_only_);
    at::globalContext().setDeterministicFillUninitializedMemory(fill_);
  }
  DeterministicAten(const DeterministicAten&) = delete;
  DeterministicAten& operator=(const DeterministicAten&) = delete;

 private:
  inline static std::mutex mutex_;
  std::lock_guard<std::mutex> lock_;
  bool algorithms_, warn_only_, fill_;
};

Bf16* bf16_of(const at::Tensor& tensor) { return tensor.defined() ? data_of<Bf16>(tensor) : nullptr; }

}  // namespace

/// The backward pass in the order of the layers' reversal, all rows at once. `stream_` holds dL/d(residual stream), which each block
/// adds to, `rounded_` the same in bf16.
class CudaPasses::Backward {
 public:
  Backward(const CudaPasses& model, const PackedSequences& batch, const at::Tensor& rope, const Activations& saved,
           GradientUnits& gradients)
      : model_(model),
        a_(model.architecture_),
        saved_(saved),
        buffers_(model.architecture_, saved),
        rope_table_(rope),
        rope_(data_of<float>(rope)),
        gradients_(gradients),
        rows_(saved.rows),
        inputs_(batch) {
    const std::int64_t attended = a_.heads * a_.head_size, qkv = attended + 2 * a_.kv_heads * a_.head_size;
    stream_ = at::zeros({rows_, a_.hidden}, on_gpu(at::kFloat));
    scratch_ = at::empty({cuda::row_sum_scratch(rows_, std::max({a_.hidden, qkv, 2 * a_.head_size}))}, on_gpu(at::kFloat));
    const auto values = [&](std::int64_t columns) { return at::empty({rows_, columns}, on_gpu(at::kBFloat16)); };
    products_ = at::empty({a_.heads * rows_}, on_gpu(at::kFloat));
    rounded_ = values(a_.hidden);
    grad_qkv_ = values(qkv);
    grad_attended_ = values(attended);
    grad_gate_up_ = values(2 * a_.intermediate);
    grad_normed_ = values(a_.hidden);
    if (model_.cut_ != nullptr) {
      place_ = model_.cut_->group().rank();
      ranks_ = model_.cut_->group().size();
    }
    if (place_ > 0) not_added_ = at::empty({a_.hidden}, on_gpu(at::kFloat));
  }

  void run(const at::Tensor& ids_T, const at::Tensor& grad_hidden_TH) {
    enter(a_.layers + 1);
    norm(2 * a_.layers, grad_hidden_TH);
    gradients_.finished(a_.layers + 1);
    for (std::int64_t layer = a_.layers - 1; layer >= 0; --layer) {
      enter(layer + 1);
      begin_block(layer);
      mlp_and_output(layer);
      attention(layer);
      norm(2 * layer, grad_normed_);
      gradients_.finished(layer + 1);
    }
    enter(0);
    embedding(ids_T);
    gradients_.finished(0);
  }

 private:
  const Block& block(std::int64_t layer) const { return model_.block(layer); }
  const ModelOffsets::Block& offsets(std::int64_t layer) const { return model_.offsets_.blocks[static_cast<std::size_t>(layer)]; }
  /// Makes a unit's parameters and gradients the present ones; the embedding's parameters are not needed.
  void enter(std::int64_t unit) {
    if (unit > 0) model_.enter(unit, unit > 1 ? unit - 1 : -1);
    grads_ = {gradients_.unit(unit), model_.units_[static_cast<std::size_t>(unit)]};
  }
  float* gradient(std::int64_t offset) const { return offset < 0 ? nullptr : grads_.at(offset); }

  /// Adds gradᵀ · x to the gradient of the matrix [n, k] at `offset`.
  void add_gradient(const at::Tensor& grad, const at::Tensor& x, std::int64_t offset) const {
    const std::int64_t n = grad.size(1), k = x.size(1);
    add_weight_gradient(grad, x, grads_.matrix(offset, n, k));
  }

  /// Adds the gradient through the norm of `stream` to stream_.
  void norm(std::int64_t stream, const at::Tensor& grad_normed) const {
    const std::int64_t layer = stream / 2;
    const bool last = layer == a_.layers, first = stream % 2 == 0;
    const at::Tensor& weight = last ? model_.final_norm_ : first ? block(layer).attention_norm : block(layer).mlp_norm;
    const std::int64_t offset = last ? model_.offsets_.final_norm : first ? offsets(layer).attention_norm : offsets(layer).mlp_norm;
    cuda::rms_norm_backward({bf16_of(grad_normed), data_of<float>(buffers_.residual_TH(stream)), buffers_.inverse_rms(stream),
                             bf16_of(weight), rows_, static_cast<std::int32_t>(a_.hidden), data_of<float>(stream_), bf16_of(rounded_),
                             place_ == 0 ? gradient(offset) : data_of<float>(not_added_)},
                            data_of<float>(scratch_), current_stream());
  }

  /// Makes what the forward computed in the block be there, the same bits.
  void begin_block(std::int64_t layer) {
    const Rows exactness = model_.exact_ ? Rows::kExact : Rows::kFree;
    if (buffers_.recompute() == Recompute::kBlock) {
      model_.add_and_norm(buffers_, 2 * layer, {});
      multiply_transposed(buffers_.normed_TH(2 * layer), block(layer).qkv, buffers_.qkv(layer), exactness);
      cuda::finish_qkv(model_.qkv_rows(buffers_, {nullptr, inputs_.positions()}, rope_table_, layer), current_stream());
      std::tie(attended_, lse_) = model_.attend_packed(buffers_, layer, inputs_);
      model_.multiply_jointly(grad_normed_, grad_normed_.size(0), [&](const at::Tensor& out) {  // a place for the rows that are added
        multiply_transposed(attended_rows(), block(layer).output, out, exactness);
      });
      model_.add_and_norm(buffers_, 2 * layer + 1, grad_normed_);
    } else {
      attended_ = saved_.attended[static_cast<std::size_t>(layer)];
      lse_ = saved_.lse[static_cast<std::size_t>(layer)];
    }
    if (buffers_.recompute() == Recompute::kActivations) model_.add_and_norm(buffers_, 2 * layer + 1, {});
    if (buffers_.recompute() != Recompute::kNone) model_.activate(buffers_, layer);
  }

  void mlp_and_output(std::int64_t layer) const {
    swiglu(layer);
    add_gradient(rounded_, buffers_.activated(layer).narrow(0, 0, rows_), offsets(layer).down);
    add_gradient(grad_gate_up_, buffers_.normed_TH(2 * layer + 1), offsets(layer).gate_up);
    model_.multiply_jointly(grad_normed_, grad_normed_.size(0), [&](const at::Tensor& out) { multiply(grad_gate_up_, block(layer).gate_up, out); });
    norm(2 * layer + 1, grad_normed_);
    add_gradient(rounded_, attended_rows(), offsets(layer).output);
    multiply(rounded_, block(layer).output, grad_attended_);
  }

  /// From the gradient of what `down` gave to that of gate and up.
  void swiglu(std::int64_t layer) const {
    const cuda::SwigluGradientProduct product{bf16_of(rounded_),       bf16_of(block(layer).down),          rows_,
                                              a_.hidden,               a_.intermediate,                     bf16_of(buffers_.gate_up(layer)),
                                              bf16_of(grad_gate_up_)};
    if (cuda::fused_swiglu_backward_serves(product)) return cuda::fused_swiglu_backward(product, current_stream());
    const at::Tensor grad_activated = at::empty({rows_, a_.intermediate}, on_gpu(at::kBFloat16));
    multiply(rounded_, block(layer).down, grad_activated);
    cuda::swiglu_backward(product.gate_up, bf16_of(grad_activated), rows_, a_.intermediate, product.grad_gate_up, current_stream());
  }

  at::Tensor attended_rows() const { return attended_.view({rows_, a_.heads * a_.head_size}); }

  /// From grad_attended_ to the gradient of the block's normed rows.
  void attention(std::int64_t layer) const {
    const cuda::AttentionGradient own = attention_gradient(layer);
    if (!inputs_.shares() && cuda::attention_backward_serves(own)) {
      cuda::attention_backward(own, current_stream());
      const std::int64_t width = grad_qkv_.size(1), keys = a_.heads * a_.head_size, values = keys + a_.kv_heads * a_.head_size;
      finish_qkv(layer, placed(own.grad_qkv, own.grad_qkv + keys, own.grad_qkv + values, width, width));
    } else {
      aten_attention(layer);
    }
    if (buffers_.recompute() != Recompute::kNone) model_.add_and_norm(buffers_, 2 * layer, {});
    add_gradient(grad_qkv_, buffers_.normed_TH(2 * layer), offsets(layer).qkv);
    model_.multiply_jointly(grad_normed_, grad_normed_.size(0), [&](const at::Tensor& out) { multiply(grad_qkv_, block(layer).qkv, out); });
  }

  cuda::AttentionGradient attention_gradient(std::int64_t layer) const {
    check(lse_.is_contiguous() && lse_.size(0) == a_.heads && lse_.numel() == a_.heads * rows_, "log-sum-exps are [heads, rows]");
    cuda::AttentionGradient g{};
    g.qkv = bf16_of(buffers_.qkv(layer));
    g.attended = bf16_of(attended_);
    g.grad_attended = bf16_of(grad_attended_);
    g.lse = data_of<float>(lse_);
    g.rows = rows_;
    g.heads = static_cast<std::int32_t>(a_.heads);
    g.kv_heads = static_cast<std::int32_t>(a_.kv_heads);
    g.head_size = static_cast<std::int32_t>(a_.head_size);
    g.starts = data_of<std::int32_t>(inputs_.starts());
    g.sequences = static_cast<std::int32_t>(inputs_.sequences());
    g.longest = static_cast<std::int32_t>(inputs_.longest());
    g.positions = inputs_.positions();
    g.rope = rope_;
    g.products = data_of<float>(products_);
    g.grad_qkv = bf16_of(grad_qkv_);
    return g;
  }

  /// ATen's kernels, for the heads, the GPUs and the sequences (behind a prefix) that attention_backward does not take.
  void aten_attention(std::int64_t layer) const {
    const at::Tensor heads = buffers_.qkv(layer).view({rows_, a_.heads + 2 * a_.kv_heads, a_.head_size});
    const at::Tensor keys = inputs_.keys_of(heads.narrow(1, a_.heads, 2 * a_.kv_heads));
    const at::Tensor no_random = at::empty({0}, on_gpu(at::kLong));
    const auto [grad_q, grad_k, grad_v] = [&] {
      const DeterministicAten deterministic;
      return at::_flash_attention_backward(grad_attended_.view({rows_, a_.heads, a_.head_size}), heads.narrow(1, 0, a_.heads),
                                           keys.narrow(1, 0, a_.kv_heads), keys.narrow(1, a_.kv_heads, a_.kv_heads), attended_, lse_,
                                           inputs_.starts(), inputs_.key_starts(), inputs_.longest(), inputs_.longest_keys(), 0.0, true,
                                           no_random, no_random);
    }();
    check(grad_q.is_contiguous() && grad_k.is_contiguous() && grad_v.is_contiguous(), "gradients of attention are contiguous");
    const std::int64_t width = a_.kv_heads * a_.head_size;
    const at::Tensor shared = inputs_.shares() ? inputs_.sum_over_keys(at::cat({grad_k, grad_v}, 1)) : at::Tensor();
    cuda::QkvGradient g = shared.defined() ? placed(bf16_of(grad_q), bf16_of(shared), bf16_of(shared) + width, a_.heads * a_.head_size, 2 * width)
                                           : placed(bf16_of(grad_q), bf16_of(grad_k), bf16_of(grad_v), a_.heads * a_.head_size, width);
    g.rope = rope_;
    finish_qkv(layer, g);
  }

  static cuda::QkvGradient placed(const Bf16* queries, const Bf16* keys, const Bf16* values, std::int64_t query_stride, std::int64_t key_stride) {
    cuda::QkvGradient g{};
    g.grad_queries = queries;
    g.grad_keys = keys;
    g.grad_values = values;
    g.query_stride = query_stride;
    g.key_stride = key_stride;
    return g;
  }

  /// `g` says where the gradients of queries, keys and values are.
  void finish_qkv(std::int64_t layer, cuda::QkvGradient g) const {
    g.rows = rows_;
    g.heads = static_cast<std::int32_t>(a_.heads);
    g.kv_heads = static_cast<std::int32_t>(a_.kv_heads);
    g.head_size = static_cast<std::int32_t>(a_.head_size);
    g.positions = inputs_.positions();
    g.unnormed = bf16_of(buffers_.unnormed(layer));
    g.q_norm = bf16_of(block(layer).q_norm);
    g.k_norm = bf16_of(block(layer).k_norm);
    g.eps = static_cast<float>(a_.rms_eps);
    g.grad_qkv = bf16_of(grad_qkv_);
    g.grad_bias = gradient(offsets(layer).qkv_bias);
    g.grad_q_norm = gradient(offsets(layer).q_norm);
    g.grad_k_norm = gradient(offsets(layer).k_norm);
    cuda::finish_qkv_backward(g, data_of<float>(scratch_), current_stream());
  }

  void embedding(const at::Tensor& ids_T) const {
    const std::int64_t begin = rows_ * place_ / ranks_, count = rows_ * (place_ + 1) / ranks_ - begin;  // the rank's share of the rows
    if (count == 0) return;
    const auto [ids, order] = ids_T.narrow(0, begin, count).to(at::kCUDA).sort(/*stable=*/true, 0, /*descending=*/false);
    cuda::embedding_backward(data_of<float>(stream_) + begin * a_.hidden, data_of<std::int64_t>(ids), data_of<std::int64_t>(order), count,
                             a_.hidden, gradient(model_.offsets_.embedding), current_stream());
  }

  const CudaPasses& model_;
  const Architecture& a_;
  const Activations& saved_;
  const CudaActivations buffers_;
  const at::Tensor rope_table_;
  const float* rope_;
  GradientUnits& gradients_;
  UnitView<float> grads_;  // of the present unit
  const std::int64_t rows_;
  std::int64_t place_ = 0, ranks_ = 1;  // among those that hold the model together
  at::Tensor not_added_;                // what the first of them adds to the gradients of norms
  const PackedInputs inputs_;
  at::Tensor stream_, scratch_, products_;
  at::Tensor attended_, lse_;  // of the present block
  at::Tensor rounded_, grad_qkv_, grad_attended_, grad_gate_up_, grad_normed_;
};

void CudaPasses::backward(const PackedSequences& batch, const at::Tensor& rope, const Activations& saved, const at::Tensor& grad_hidden_TH,
                          GradientUnits& gradients) const {
  check(saved.rows == batch.ids_T.numel(), "activations are those of this batch");
  check(grad_hidden_TH.is_cuda() && grad_hidden_TH.is_contiguous() && grad_hidden_TH.scalar_type() == at::kBFloat16 &&
            grad_hidden_TH.numel() == saved.rows * architecture_.hidden,
        "grad_hidden is contiguous bf16 [T, H] on the GPU");
  if (saved.rows == 0) {
    for (std::int64_t unit = architecture_.layers + 1; unit >= 0; --unit) {
      if (unit > 0) enter(unit, unit > 1 ? unit - 1 : -1);
      gradients.finished(unit);
    }
    return;
  }
  const std::int64_t attentions = saved.recompute == Recompute::kBlock ? 0 : architecture_.layers;
  check(std::ssize(saved.attended) == attentions, "activations have the attentions that their backward pass reads");
  Backward(*this, batch, rope, saved, gradients).run(batch.ids_T, grad_hidden_TH);
  check_cuda(cudaGetLastError(), "the backward pass");
}

}  // namespace troupe
