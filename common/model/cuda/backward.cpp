#include "common/model/cuda/backward.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include <ATen/Context.h>
#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/cuda/backward_kernels.h"
#include "common/model/cuda/device.h"
#include "common/model/cuda/gemm.h"

namespace troupe::cuda {
namespace {

/// While it lives ATen takes its deterministic kernels: flash attention's backward then adds in a fixed order.
class DeterministicAten {
 public:
  DeterministicAten()
      : algorithms_(at::globalContext().deterministicAlgorithms()),
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
  bool algorithms_, warn_only_, fill_;
};

at::Tensor matrix(Bf16* data, std::int64_t rows, std::int64_t columns) {
  return at::from_blob(data, {rows, columns}, on_gpu(at::kBFloat16));
}

Bf16* bf16_of(const at::Tensor& tensor) { return data_of<Bf16>(tensor); }

/// The backward pass in the order of the layers' reversal, all rows at once. `stream_` holds dL/d(residual stream), which each block
/// adds to, `rounded_` the same in bf16.
class BackwardPass {
 public:
  BackwardPass(const ModelView<Bf16>& model, const PackedSequences& batch, const Activations& saved, const at::Tensor& gradients)
      : model_(model), view_(model, saved), gradients_(gradients) {
    const Architecture& a = model.architecture;
    const std::int64_t rows = view_.rows();
    const std::vector<std::int64_t> positions = packed_positions(batch);
    positions_ = ints_.add(positions);
    starts_ = ints_.add(batch.sequence_starts);
    ints_.upload();
    sequences_ = std::ssize(batch.sequence_starts) - 1;
    for (std::size_t s = 0; s + 1 < batch.sequence_starts.size(); ++s) {
      longest_ = std::max(longest_, batch.sequence_starts[s + 1] - batch.sequence_starts[s]);
    }
    stream_ = at::zeros({rows, a.hidden}, on_gpu(at::kFloat));
    scratch_ = at::empty({row_sum_scratch(rows, std::max({a.hidden, model.qkv_width(), 2 * a.head_size}))}, on_gpu(at::kFloat));
    rounded_ = values(a.hidden);
    grad_qkv_ = values(model.qkv_width());
    grad_attended_ = values(model.attended_width());
    grad_activated_ = values(a.intermediate);
    activated_ = values(a.intermediate);
    grad_gate_up_ = values(2 * a.intermediate);
    grad_normed_ = values(a.hidden);
  }

  void run(const at::Tensor& ids_T, const at::Tensor& grad_hidden_TH) {
    const std::int64_t layers = model_.architecture.layers;
    norm(2 * layers, grad_hidden_TH);
    for (std::int64_t layer = layers - 1; layer >= 0; --layer) {
      mlp_and_output(layer);
      attention(layer);
      norm(2 * layer, grad_normed_);
    }
    embedding(ids_T);
  }

 private:
  at::Tensor values(std::int64_t columns) const { return at::empty({view_.rows(), columns}, on_gpu(at::kBFloat16)); }
  at::Tensor saved(Bf16* data, std::int64_t columns) const { return matrix(data, view_.rows(), columns); }
  at::Tensor weight(std::int64_t offset, std::int64_t rows, std::int64_t columns) const {
    return matrix(const_cast<Bf16*>(model_.parameters) + offset, rows, columns);
  }
  float* gradient(std::int64_t offset) const { return offset < 0 ? nullptr : data_of<float>(gradients_) + offset; }
  const ModelOffsets::Block& block(std::int64_t layer) const { return model_.offsets.blocks[static_cast<std::size_t>(layer)]; }

  /// grad_weight += gradᵀ · x, and grad_x = grad · w (where asked for), of the matrix w[n, k] at `offset`.
  void product(const at::Tensor& grad, const at::Tensor& x, std::int64_t offset, const at::Tensor* grad_x) {
    const std::int64_t n = grad.size(1), k = x.size(1);
    add_weight_gradient(grad, x, gradients_.narrow(0, offset, n * k).view({n, k}));
    if (grad_x != nullptr) multiply(grad, weight(offset, n, k), *grad_x);
  }

  /// Adds the gradient through the norm of `stream` to stream_.
  void norm(std::int64_t stream, const at::Tensor& grad_normed) {
    const std::int64_t layer = stream / 2;
    const std::int64_t offset = layer == model_.architecture.layers ? model_.offsets.final_norm
                                : stream % 2 == 0                   ? block(layer).attention_norm
                                                                    : block(layer).mlp_norm;
    rms_norm_backward({bf16_of(grad_normed), view_.residual(stream), view_.inverse_rms(stream), model_.parameters + offset, view_.rows(),
                       static_cast<std::int32_t>(model_.architecture.hidden), data_of<float>(stream_), bf16_of(rounded_), gradient(offset)},
                      data_of<float>(scratch_), current_stream());
  }

  void mlp_and_output(std::int64_t layer) {
    const Architecture& a = model_.architecture;
    multiply(rounded_, weight(block(layer).down, a.hidden, a.intermediate), grad_activated_);
    swiglu_backward(view_.gate_up(layer, 0), bf16_of(grad_activated_), view_.rows(), a.intermediate, bf16_of(grad_gate_up_),
                    bf16_of(activated_), current_stream());
    product(rounded_, activated_, block(layer).down, nullptr);
    product(grad_gate_up_, saved(view_.normed(2 * layer + 1), a.hidden), block(layer).gate_up, &grad_normed_);
    norm(2 * layer + 1, grad_normed_);
    product(rounded_, saved(view_.attended(layer), model_.attended_width()), block(layer).output, &grad_attended_);
  }

  /// From grad_attended_ to the gradient of the block's normed rows.
  void attention(std::int64_t layer) {
    const Architecture& a = model_.architecture;
    const std::int64_t rows = view_.rows(), width = model_.qkv_width();
    const at::Tensor qkv = saved(view_.qkv(layer), width);
    const auto heads = [&](std::int64_t first, std::int64_t count) {
      return qkv.narrow(1, first * a.head_size, count * a.head_size).view({rows, count, a.head_size});
    };
    const auto attended = [&](const at::Tensor& tensor) { return tensor.view({rows, a.heads, a.head_size}); };
    const at::Tensor lse = at::from_blob(view_.lse(layer), {a.heads, rows}, on_gpu(at::kFloat));
    const at::Tensor starts = ints_.at(starts_, sequences_ + 1), no_random = at::empty({0}, on_gpu(at::kLong));
    const auto [grad_q, grad_k, grad_v] = [&] {
      const DeterministicAten deterministic;
      return at::_flash_attention_backward(attended(grad_attended_), heads(0, a.heads), heads(a.heads, a.kv_heads),
                                           heads(a.heads + a.kv_heads, a.kv_heads), attended(saved(view_.attended(layer), a.heads * a.head_size)),
                                           lse, starts, starts, longest_, longest_, 0.0, true, no_random, no_random);
    }();
    check(grad_q.is_contiguous() && grad_k.is_contiguous() && grad_v.is_contiguous(), "gradients of attention are contiguous");
    finish_qkv_backward({bf16_of(grad_q), bf16_of(grad_k), bf16_of(grad_v), rows, static_cast<std::int32_t>(a.heads),
                         static_cast<std::int32_t>(a.kv_heads), static_cast<std::int32_t>(a.head_size), ints_.data(positions_),
                         model_.rope, view_.unnormed(layer), norm_weight(block(layer).q_norm), norm_weight(block(layer).k_norm),
                         static_cast<float>(a.rms_eps), bf16_of(grad_qkv_), gradient(block(layer).qkv_bias), gradient(block(layer).q_norm),
                         gradient(block(layer).k_norm)},
                        data_of<float>(scratch_), current_stream());
    product(grad_qkv_, saved(view_.normed(2 * layer), a.hidden), block(layer).qkv, &grad_normed_);
  }

  const Bf16* norm_weight(std::int64_t offset) const { return offset < 0 ? nullptr : model_.parameters + offset; }

  void embedding(const at::Tensor& ids_T) {
    const auto [ids, order] = ids_T.to(at::kCUDA).sort(/*stable=*/true, 0, /*descending=*/false);
    embedding_backward(data_of<float>(stream_), data_of<std::int64_t>(ids), data_of<std::int64_t>(order), view_.rows(),
                       model_.architecture.hidden, gradient(model_.offsets.embedding), current_stream());
  }

  const ModelView<Bf16>& model_;
  ActivationView<Bf16> view_;
  at::Tensor gradients_;
  DeviceInts ints_;
  std::int64_t positions_ = 0, starts_ = 0, sequences_ = 0, longest_ = 0;
  at::Tensor stream_, scratch_;
  at::Tensor rounded_, grad_qkv_, grad_attended_, grad_activated_, activated_, grad_gate_up_, grad_normed_;
};

}  // namespace

void run_backward(const ModelView<Bf16>& model, const PackedSequences& batch, const Activations& saved, const at::Tensor& grad_hidden_TH,
                  at::Tensor& gradients) {
  check(saved.rows == batch.ids_T.numel(), "activations are those of this batch");
  check(grad_hidden_TH.is_cuda() && grad_hidden_TH.is_contiguous() && grad_hidden_TH.scalar_type() == at::kBFloat16 &&
            grad_hidden_TH.numel() == saved.rows * model.architecture.hidden,
        "grad_hidden is contiguous bf16 [T, H] on the GPU");
  check(gradients.is_cuda() && gradients.scalar_type() == at::kFloat && gradients.is_contiguous(), "gradients are flat fp32 on the GPU");
  if (saved.rows == 0) return;
  BackwardPass(model, batch, saved, gradients).run(batch.ids_T, grad_hidden_TH);
  check_cuda(cudaGetLastError(), "kernels of the backward pass");
}

}  // namespace troupe::cuda
