#include "common/model/transformer.h"

#include <bit>
#include <cmath>

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/attention.h"
#include "common/model/cuda/cuda_passes.h"
#include "common/model/forward_pass.h"

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

void check_packing(const PackedSequences& batch) {
  check(!batch.sequence_starts.empty() && batch.sequence_starts.front() == 0 && batch.sequence_starts.back() == batch.ids_T.numel(),
        "sequence_starts run from 0 to the number of ids");
  check(batch.prefixes.empty() || std::ssize(batch.prefixes) == batch.sequences(), "there is one prefix a sequence, or none at all");
  for (std::int64_t s = 0; s < batch.sequences(); ++s) {
    const std::int64_t prefix = batch.prefix(s);
    check(prefix >= -1 && prefix < s && (prefix < 0 || batch.prefix(prefix) < 0), "a prefix is an earlier sequence that has none");
  }
}

/// One past the largest.
std::int64_t positions_in_use(const std::vector<std::int64_t>& positions) {
  return positions.empty() ? 0 : *std::ranges::max_element(positions) + 1;
}

/// [positions, 2, half]: cosines and sines. The angle is the fp32 product of position and frequency, as in transformers.
at::Tensor rope_table(const Architecture& a, std::int64_t positions) {
  const std::int64_t half = a.head_size / 2;
  const std::vector<float> frequencies = radians_a_position(a.rope_theta, a.head_size, a.rope_scaling);
  const auto scale = static_cast<float>(a.rope_scaling.attention_factor);
  at::Tensor table = at::empty({positions, 2, half}, at::kFloat);
  float* out = table.mutable_data_ptr<float>();
  for (std::int64_t position = 0; position < positions; ++position) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<float>(position) * frequencies[static_cast<std::size_t>(i)];
      out[position * a.head_size + i] = scale * static_cast<float>(std::cos(angle));
      out[position * a.head_size + half + i] = scale * static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

template <typename T>
ModelView<T> view_of(const Parameters& parameters, const ModelOffsets& offsets, const at::Tensor& rope) {
  return {parameters.architecture(), offsets, parameters, data_of<float>(rope)};
}

}  // namespace

Transformer::Transformer(Parameters parameters, bool exact) : parameters_(std::move(parameters)), offsets_(parameters_.layout(), parameters_.architecture()) {
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
  check_packing(batch);
  const std::vector<std::int64_t> positions = packed_positions(batch);
  check_tokens(batch.ids_T, positions, a);
  if (cuda_) return cuda_->forward(batch, rope(positions_in_use(positions)), saved);
  return with_compute_type(parameters_.flat().scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    const auto model = view_of<T>(parameters_, offsets_, rope(positions_in_use(positions)));
    Activations unsaved;
    Activations& storage = saved == nullptr ? unsaved : *saved;
    const ActivationView<T> view(model, batch.ids_T.numel(), saved != nullptr, storage);
    ForwardPass<T> pass(model, packed_blocks<T>(), view, positions);
    pass.run(data_of<std::int64_t>(batch.ids_T),
             [&](std::int64_t layer) { attend_packed(model, view, layer, batch); });
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
    ForwardPass<T> pass(model, packed_blocks<T>(), view, positions);
    pass.run(data_of<std::int64_t>(ids_T), [&](std::int64_t layer) { attention.attend(layer); });
    return storage.values.narrow(0, view.normed_offset(2 * a.layers), view.rows() * a.hidden).view({view.rows(), a.hidden});
  });
}

void Transformer::backward(const PackedSequences& batch, const Activations& saved, const at::Tensor& grad_hidden_TH,
                           GradientUnits& gradients) const {
  const std::int64_t positions = positions_in_use(packed_positions(batch));
  if (cuda_) return cuda_->backward(batch, rope(positions), saved, grad_hidden_TH, gradients);
  with_compute_type(parameters_.flat().scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    run_backward(view_of<T>(parameters_, offsets_, rope(positions)), packed_blocks<T>(), batch, saved, grad_hidden_TH, gradients);
  });
}

void Transformer::backward(const PackedSequences& batch, const Activations& saved, const at::Tensor& grad_hidden_TH,
                           at::Tensor& gradients) const {
  check(gradients.scalar_type() == at::kFloat && gradients.is_contiguous() && gradients.numel() == parameters_.layout().total,
        "gradients are flat fp32");
  WholeGradients whole(parameters_.layout(), gradients);
  backward(batch, saved, grad_hidden_TH, whole);
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

void Transformer::prepare() const {
  if (cuda_ || parameters_.sharded()) return;
  with_compute_type(parameters_.flat().scalar_type(), [&](auto* compute_type) { packed<std::remove_pointer_t<decltype(compute_type)>>(); });
}

at::Tensor Transformer::logits(const at::Tensor& hidden_NH) const {
  if (cuda_) return cuda_->logits(hidden_NH);
  return with_compute_type(parameters_.flat().scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    check(!parameters_.architecture().scores && !parameters_.sharded(), "logits are those of a whole language model");
    check(hidden_NH.dim() == 2 && hidden_NH.size(1) == parameters_.architecture().hidden && hidden_NH.is_contiguous() &&
              hidden_NH.scalar_type() == parameters_.flat().scalar_type(),
          "hidden is contiguous [N, H] of the model's dtype");
    return logits_of(hidden_NH, packed<T>().head, parameters_.architecture().vocabulary);
  });
}

at::Tensor Transformer::head_VH() const { return head_in(parameters_.unit(head_unit())); }

at::Tensor Transformer::head_in(const at::Tensor& unit) const {
  const Architecture& a = parameters_.architecture();
  const std::int64_t rows = a.scores ? 1 : a.vocabulary, begin = parameters_.layout().units[static_cast<std::size_t>(head_unit())];
  return unit.narrow(0, offsets_.head - begin, rows * a.hidden).view({rows, a.hidden});
}

}  // namespace troupe
