#include "common/model/transformer.h"

#include <bit>
#include <cmath>

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/attention.h"
#include "common/model/cuda/cuda_passes.h"
#include "common/model/passes.h"

namespace troupe {
namespace {

/// Ids checked against the vocabulary, positions against the longest supported.
void check_tokens(const at::Tensor& ids_T, const std::vector<std::int64_t>& positions, const Architecture& a) {
  check(ids_T.scalar_type() == at::kLong && ids_T.is_contiguous() && ids_T.dim() == 1, "ids are a contiguous int64 vector");
  check(static_cast<std::int64_t>(positions.size()) == ids_T.numel(), "there is one position an id");
  const std::int64_t* ids = data_of<std::int64_t>(ids_T);
  for (std::size_t i = 0; i < positions.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= a.vocabulary) {
      throw ConfigError("token id " + std::to_string(ids[i]) + " at row " + std::to_string(i) +
                        " is outside the model's vocabulary of " + std::to_string(a.vocabulary));
    }
    if (positions[i] < 0 || positions[i] >= a.max_positions) {
      throw ConfigError("position " + std::to_string(positions[i]) + " at row " + std::to_string(i) +
                        " is outside the model's " + std::to_string(a.max_positions) + " positions");
    }
  }
}

/// One past the largest.
std::int64_t positions_in_use(const std::vector<std::int64_t>& positions) {
  return positions.empty() ? 0 : *std::ranges::max_element(positions) + 1;
}

/// A forward pass over rows: everything but attention goes row by row, in chunks that the GEMM treats alike.
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
      add_and_norm(0, chunks_.begin(chunk), chunks_.begin(chunk + 1), nullptr);
      project_qkv(0, chunks_.begin(chunk), chunks_.begin(chunk + 1));
    }
    const std::int64_t layers = model_.architecture.layers;
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      attend(layer);
      for (std::int64_t chunk = 0; chunk < chunks_.count; ++chunk) {
        const std::int64_t begin = chunks_.begin(chunk), end = chunks_.begin(chunk + 1);
        project_output_and_mlp(layer, begin, end);
        if (layer + 1 < layers) project_qkv(layer + 1, begin, end);
      }
    }
  }

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

  /// residual(stream) = residual(stream - 1) + delta, and its normed rows.
  void add_and_norm(std::int64_t stream, std::int64_t begin, std::int64_t end, const T* delta) {
    const Architecture& a = model_.architecture;
    const std::int64_t layer = stream / 2;
    const std::int64_t weight = layer == a.layers  ? model_.offsets.final_norm
                                : stream % 2 == 0 ? model_.offsets.blocks[static_cast<std::size_t>(layer)].attention_norm
                                                  : model_.offsets.blocks[static_cast<std::size_t>(layer)].mlp_norm;
    const float* before = view_.residual(stream == 0 ? 0 : stream - 1);
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

  void project_output_and_mlp(std::int64_t layer, std::int64_t begin, std::int64_t end) {
    const Architecture& a = model_.architecture;
    const auto& block = weights_.blocks[static_cast<std::size_t>(layer)];
    const std::int64_t width = model_.attended_width(), inner = a.intermediate, rows = end - begin;
    block.output.multiply(view_.attended(layer) + begin * width, rows, delta_);
    add_and_norm(2 * layer + 1, begin, end, delta_);
    T* gate_up = view_.gate_up(layer, begin);
    block.gate_up.multiply(view_.normed(2 * layer + 1) + begin * a.hidden, rows, gate_up);
    for_rows(end - begin, inner, [&](std::int64_t from, std::int64_t to) {
      kernels<T>().swiglu(gate_up + from * 2 * inner, to - from, inner, activated_ + from * inner);
    });
    block.down.multiply(activated_, rows, delta_);
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

at::Tensor rope_table(const Architecture& a, std::int64_t positions) {
  const std::int64_t half = a.head_size / 2;
  const std::vector<double> waves = positions_a_radian(a.rope_theta, a.head_size, a.rope_scaling);
  const double scale = a.rope_scaling.attention_factor;
  at::Tensor table = at::empty({positions, 2, half}, at::kFloat);
  float* out = table.mutable_data_ptr<float>();
  for (std::int64_t position = 0; position < positions; ++position) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) / waves[static_cast<std::size_t>(i)];
      out[position * a.head_size + i] = static_cast<float>(scale * std::cos(angle));
      out[position * a.head_size + half + i] = static_cast<float>(scale * std::sin(angle));
    }
  }
  return table;
}

template <typename T>
ModelView<T> view_of(const Parameters& parameters, const ModelOffsets& offsets, const at::Tensor& rope) {
  return {parameters.architecture(), offsets, data_of<T>(parameters.flat()), data_of<float>(rope)};
}

}  // namespace

Transformer::Transformer(Parameters parameters, bool exact) : parameters_(std::move(parameters)), offsets_(parameters_) {
  if (parameters_.flat().is_cuda()) cuda_ = std::make_shared<CudaPasses>(parameters_, exact);
}

const at::Tensor& Transformer::rope(std::int64_t positions) const {
  constexpr std::uint64_t kFewest = 1024;
  if (!rope_.defined() || rope_.size(0) < positions) {
    const std::uint64_t enough = std::bit_ceil(std::max(kFewest, static_cast<std::uint64_t>(positions)));
    const Architecture& a = parameters_.architecture();
    rope_ = rope_table(a, std::min(static_cast<std::int64_t>(enough), a.max_positions)).to(parameters_.flat().device());
  }
  return rope_;
}

at::Tensor Transformer::forward(const PackedSequences& batch, Activations* saved) const {
  const Architecture& a = parameters_.architecture();
  check(!batch.sequence_starts.empty() && batch.sequence_starts.front() == 0 &&
            batch.sequence_starts.back() == batch.ids_T.numel(),
        "sequence_starts run from 0 to the number of ids");
  const std::vector<std::int64_t> positions = packed_positions(batch);
  check_tokens(batch.ids_T, positions, a);
  if (cuda_) return cuda_->forward(batch, rope(positions_in_use(positions)), saved);
  return with_compute_type(parameters_.flat().scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    const auto model = view_of<T>(parameters_, offsets_, rope(positions_in_use(positions)));
    Activations unsaved;
    Activations& storage = saved == nullptr ? unsaved : *saved;
    const ActivationView<T> view(model, batch.ids_T.numel(), saved != nullptr, storage);
    ForwardPass<T> pass(model, packed<T>(), view, positions);
    pass.run(data_of<std::int64_t>(batch.ids_T),
             [&](std::int64_t layer) { attend_packed(model, view, layer, batch.sequence_starts); });
    return storage.values.narrow(0, view.normed_offset(2 * a.layers), view.rows() * a.hidden).view({view.rows(), a.hidden});
  });
}

at::Tensor Transformer::forward_cached(const at::Tensor& ids_T, std::span<const CachedRun> runs, KvCache& cache) const {
  const Architecture& a = parameters_.architecture();
  std::vector<std::int64_t> positions;
  for (const CachedRun& run : runs) {
    for (std::int64_t i = 0; i < run.tokens; ++i) positions.push_back(run.first_position + i);
  }
  check_tokens(ids_T, positions, a);
  check(cache.keys.scalar_type() == parameters_.flat().scalar_type() && cache.keys.device() == parameters_.flat().device(),
        "the cache has the model's dtype and device");
  if (cuda_) return cuda_->forward_cached(ids_T, runs, rope(positions_in_use(positions)), cache);
  return with_compute_type(parameters_.flat().scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    const auto model = view_of<T>(parameters_, offsets_, rope(positions_in_use(positions)));
    Activations storage;
    const ActivationView<T> view(model, ids_T.numel(), false, storage);
    const CachedAttention<T> attention(model, view, runs, cache);
    ForwardPass<T> pass(model, packed<T>(), view, positions);
    pass.run(data_of<std::int64_t>(ids_T), [&](std::int64_t layer) { attention.attend(layer); });
    return storage.values.narrow(0, view.normed_offset(2 * a.layers), view.rows() * a.hidden).view({view.rows(), a.hidden});
  });
}

void Transformer::backward(const PackedSequences& batch, const Activations& saved, const at::Tensor& grad_hidden_TH,
                           at::Tensor& gradients) const {
  const std::int64_t positions = positions_in_use(packed_positions(batch));
  if (cuda_) return cuda_->backward(batch, rope(positions), saved, grad_hidden_TH, gradients);
  with_compute_type(parameters_.flat().scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    run_backward(view_of<T>(parameters_, offsets_, rope(positions)), batch, saved, grad_hidden_TH, gradients);
  });
}

template <typename T>
const PackedWeights<T>& Transformer::packed() const {
  const at::Tensor& flat = parameters_.flat();
  // A tensor made in inference mode has no version: its copy is never trusted.
  const std::uint32_t version = flat.is_inference() ? packed_version_ + 1 : flat.unsafeGetTensorImpl()->version_counter().current_version();
  if (!std::holds_alternative<PackedWeights<T>>(packed_) || version != packed_version_) {
    packed_.emplace<PackedWeights<T>>(parameters_, offsets_);
    packed_version_ = version;
  }
  return std::get<PackedWeights<T>>(packed_);
}

at::Tensor Transformer::logits(const at::Tensor& hidden_NH) const {
  if (cuda_) return cuda_->logits(hidden_NH);
  return with_compute_type(parameters_.flat().scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    check(!parameters_.architecture().scores, "a reward model has no logits");
    check(hidden_NH.dim() == 2 && hidden_NH.size(1) == parameters_.architecture().hidden && hidden_NH.is_contiguous() &&
              hidden_NH.scalar_type() == parameters_.flat().scalar_type(),
          "hidden is contiguous [N, H] of the model's dtype");
    return logits_of(hidden_NH, packed<T>().head, parameters_.architecture().vocabulary);
  });
}

at::Tensor Transformer::head_VH() const {
  const Architecture& a = parameters_.architecture();
  return parameters_[a.scores ? "score.weight" : a.tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight"];
}

}  // namespace troupe
