#include "common/model/transformer.h"

#include <bit>
#include <cmath>
#include <cstring>

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/passes.h"

namespace troupe {
namespace {

/// Consecutive tokens of one sequence among the rows of a pass.
struct Run {
  std::int64_t row, tokens, first_position, slot;
};

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

/// A forward pass over rows: everything but attention goes row by row, in chunks that the GEMM treats alike.
template <typename T>
class ForwardPass {
 public:
  ForwardPass(const ModelView<T>& model, const PackedWeights<T>& weights, const ActivationView<T>& activations,
              const std::vector<std::int64_t>& positions)
      : model_(model), weights_(weights), view_(activations), positions_(positions), chunks_(activations.rows()) {
    const std::int64_t rows = padded_rows(chunks_.largest());
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
                                                                 padded_rows(end - begin), qkv);
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
    const std::int64_t width = model_.attended_width(), inner = a.intermediate, rows = padded_rows(end - begin);
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

/// Runs of one token and key head that are worth waking a thread for.
template <typename T>
std::int64_t items_worth_a_thread(const ModelView<T>& model, std::int64_t positions) {
  constexpr std::int64_t kOperationsWorthAThread = 1 << 18;
  return 1 + kOperationsWorthAThread / (4 * model.group() * model.architecture.head_size * positions);
}

/// The attention of one run and key head; keys and values are for the caller to set.
template <typename T>
AttentionRun<T> attention_run(const ModelView<T>& model, const ActivationView<T>& view, std::int64_t layer, const Run& run,
                              std::int64_t kv_head) {
  const Architecture& a = model.architecture;
  const std::int64_t head = kv_head * model.group();
  AttentionRun<T> attention{};
  attention.query_stride = model.qkv_width();
  attention.queries = view.qkv(layer) + run.row * attention.query_stride + head * a.head_size;
  attention.output_stride = model.attended_width();
  attention.outputs = view.attended(layer) + run.row * attention.output_stride + head * a.head_size;
  attention.lse_stride = a.heads;
  attention.lse = view.lse(layer) == nullptr ? nullptr : view.lse(layer) + run.row * a.heads + head;
  attention.first_position = run.first_position;
  attention.tokens = run.tokens;
  attention.group = model.group();
  attention.head_size = a.head_size;
  return attention;
}

template <typename T>
void attend_packed(const ModelView<T>& model, const ActivationView<T>& view, std::int64_t layer,
                   const std::vector<Run>& runs, std::int64_t longest) {
  const Architecture& a = model.architecture;
  const std::int64_t width = model.qkv_width();
  at::parallel_for(0, static_cast<std::int64_t>(runs.size()) * a.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor scratch = at::empty({attention_scratch(longest, a.head_size)}, at::kFloat);
    const at::Tensor packed_keys = at::empty({(longest + kKeyBlock) * a.head_size}, view.dtype());
    for (std::int64_t item = begin; item < end; ++item) {
      const Run& run = runs[static_cast<std::size_t>(item / a.kv_heads)];
      const std::int64_t kv_head = item % a.kv_heads;
      AttentionRun<T> attention = attention_run(model, view, layer, run, kv_head);
      const T* keys = view.qkv(layer) + run.row * width + (a.heads + kv_head) * a.head_size;
      kernels<T>().pack_keys(keys, width, run.tokens, a.head_size, 0, data_of<T>(packed_keys));
      attention.key_blocks = data_of<T>(packed_keys);
      attention.values = keys + a.kv_heads * a.head_size;
      attention.value_stride = width;
      kernels<T>().attend(attention, data_of<float>(scratch));
    }
  });
}

/// Keys and values of one layer, slot and head in the cache.
template <typename T>
struct CachedHead {
  T *key_blocks, *values;
  CachedHead(const Architecture& a, KvCache& cache, std::int64_t layer, std::int64_t slot, std::int64_t kv_head) {
    const std::int64_t head = (layer * cache.slots + slot) * a.kv_heads + kv_head;
    key_blocks = data_of<T>(cache.keys) + head * cache.max_tokens * a.head_size;
    values = data_of<T>(cache.values) + head * cache.max_tokens * a.head_size;
  }
};

template <typename T>
void store_run(const ModelView<T>& model, const T* qkv, const Run& run, std::int64_t kv_head, const CachedHead<T>& head) {
  const Architecture& a = model.architecture;
  const std::int64_t width = model.qkv_width();
  const T* keys = qkv + run.row * width + (a.heads + kv_head) * a.head_size;
  kernels<T>().pack_keys(keys, width, run.tokens, a.head_size, run.first_position, head.key_blocks);
  for (std::int64_t token = 0; token < run.tokens; ++token) {
    std::memcpy(static_cast<void*>(head.values + (run.first_position + token) * a.head_size),
                keys + token * width + a.kv_heads * a.head_size, sizeof(T) * static_cast<std::size_t>(a.head_size));
  }
}

/// `one_run_a_slot`: a run need not wait for another's keys, so that storing and attending go together.
template <typename T>
void attend_cached(const ModelView<T>& model, const ActivationView<T>& view, std::int64_t layer,
                   const std::vector<Run>& runs, std::int64_t longest, bool one_run_a_slot, KvCache& cache) {
  const Architecture& a = model.architecture;
  const auto items = static_cast<std::int64_t>(runs.size()) * a.kv_heads;
  const auto run_of = [&](std::int64_t item) { return runs[static_cast<std::size_t>(item / a.kv_heads)]; };
  const auto head_of = [&](std::int64_t item) {
    return CachedHead<T>(a, cache, layer, run_of(item).slot, item % a.kv_heads);
  };
  const auto store = [&](std::int64_t item) {
    store_run(model, view.qkv(layer), run_of(item), item % a.kv_heads, head_of(item));
  };
  if (!one_run_a_slot) {
    for (std::int64_t item = 0; item < items; ++item) store(item);
  }
  at::parallel_for(0, items, items_worth_a_thread(model, longest), [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor scratch = at::empty({attention_scratch(longest, a.head_size)}, at::kFloat);
    for (std::int64_t item = begin; item < end; ++item) {
      if (one_run_a_slot) store(item);
      AttentionRun<T> attention = attention_run(model, view, layer, run_of(item), item % a.kv_heads);
      attention.key_blocks = head_of(item).key_blocks;
      attention.values = head_of(item).values;
      attention.value_stride = a.head_size;
      attention.next_key_blocks = item + 1 < end ? head_of(item + 1).key_blocks : nullptr;
      kernels<T>().attend(attention, data_of<float>(scratch));
    }
  });
}

/// Neighbouring rows of one slot and consecutive positions make one run.
std::vector<Run> runs_of(const std::vector<std::int64_t>& positions, const std::vector<std::int64_t>& slots) {
  std::vector<Run> runs;
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const bool continues =
        !runs.empty() && runs.back().slot == slots[i] && runs.back().first_position + runs.back().tokens == positions[i];
    if (continues) {
      ++runs.back().tokens;
    } else {
      runs.push_back({static_cast<std::int64_t>(i), 1, positions[i], slots[i]});
    }
  }
  return runs;
}

std::int64_t longest_of(const std::vector<Run>& runs) {
  std::int64_t longest = 0;
  for (const Run& run : runs) longest = std::max(longest, run.first_position + run.tokens);
  return longest;
}

/// Whether each slot has one run only. Checks the runs against the cache.
bool one_run_a_slot(const std::vector<Run>& runs, const KvCache& cache) {
  std::vector<bool> seen(static_cast<std::size_t>(cache.slots), false);
  bool one = true;
  for (const Run& run : runs) {
    check(run.slot >= 0 && run.slot < cache.slots, "rows name slots of the cache");
    check(run.first_position + run.tokens <= cache.max_tokens, "positions lie within the cache");
    one = one && !seen[static_cast<std::size_t>(run.slot)];
    seen[static_cast<std::size_t>(run.slot)] = true;
  }
  return one;
}

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

Transformer::Transformer(Parameters parameters)
    : parameters_(std::move(parameters)), offsets_(parameters_) {}

const at::Tensor& Transformer::rope(std::int64_t positions) const {
  constexpr std::uint64_t kFewest = 1024;
  if (!rope_.defined() || rope_.size(0) < positions) {
    const std::uint64_t enough = std::bit_ceil(std::max(kFewest, static_cast<std::uint64_t>(positions)));
    const Architecture& a = parameters_.architecture();
    rope_ = rope_table(a, std::min(static_cast<std::int64_t>(enough), a.max_positions));
  }
  return rope_;
}

at::Tensor Transformer::forward(const PackedSequences& batch, Activations* saved) const {
  return with_compute_type(parameters_.flat().scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    const Architecture& a = parameters_.architecture();
    check(!batch.sequence_starts.empty() && batch.sequence_starts.front() == 0 &&
              batch.sequence_starts.back() == batch.ids_T.numel(),
          "sequence_starts run from 0 to the number of ids");
    const std::vector<std::int64_t> positions = packed_positions(batch);
    check_tokens(batch.ids_T, positions, a);
    std::vector<Run> runs;
    for (std::size_t s = 0; s + 1 < batch.sequence_starts.size(); ++s) {
      const std::int64_t start = batch.sequence_starts[s], tokens = batch.sequence_starts[s + 1] - start;
      if (tokens > 0) runs.push_back({start, tokens, 0, 0});
    }
    const std::int64_t longest = longest_of(runs);
    const auto model = view_of<T>(parameters_, offsets_, rope(longest));
    Activations unsaved;
    Activations& storage = saved == nullptr ? unsaved : *saved;
    const ActivationView<T> view(model, batch.ids_T.numel(), saved != nullptr, storage);
    ForwardPass<T> pass(model, packed<T>(), view, positions);
    pass.run(data_of<std::int64_t>(batch.ids_T),
             [&](std::int64_t layer) { attend_packed(model, view, layer, runs, longest); });
    return storage.values.narrow(0, view.normed_offset(2 * a.layers), view.rows() * a.hidden).view({view.rows(), a.hidden});
  });
}

at::Tensor Transformer::forward_cached(const at::Tensor& ids_T, const std::vector<std::int64_t>& positions,
                                       const std::vector<std::int64_t>& slots, KvCache& cache) const {
  return with_compute_type(parameters_.flat().scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    const Architecture& a = parameters_.architecture();
    check_tokens(ids_T, positions, a);
    check(slots.size() == positions.size(), "there is one slot a position");
    check(cache.keys.scalar_type() == parameters_.flat().scalar_type(), "the cache has the model's dtype");
    const std::vector<Run> runs = runs_of(positions, slots);
    const bool separate = one_run_a_slot(runs, cache);
    const std::int64_t longest = longest_of(runs);
    const auto model = view_of<T>(parameters_, offsets_, rope(longest));
    Activations storage;
    const ActivationView<T> view(model, ids_T.numel(), false, storage);
    ForwardPass<T> pass(model, packed<T>(), view, positions);
    pass.run(data_of<std::int64_t>(ids_T),
             [&](std::int64_t layer) { attend_cached(model, view, layer, runs, longest, separate, cache); });
    return storage.values.narrow(0, view.normed_offset(2 * a.layers), view.rows() * a.hidden).view({view.rows(), a.hidden});
  });
}

void Transformer::backward(const PackedSequences& batch, const Activations& saved, const at::Tensor& grad_hidden_TH,
                           at::Tensor& gradients) const {
  with_compute_type(parameters_.flat().scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    const std::vector<std::int64_t>& starts = batch.sequence_starts;
    std::int64_t longest = 0;
    for (std::size_t s = 1; s < starts.size(); ++s) longest = std::max(longest, starts[s] - starts[s - 1]);
    run_backward(view_of<T>(parameters_, offsets_, rope(longest)), batch, saved, grad_hidden_TH, gradients);
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
  return with_compute_type(parameters_.flat().scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    check(hidden_NH.dim() == 2 && hidden_NH.size(1) == parameters_.architecture().hidden && hidden_NH.is_contiguous() &&
              hidden_NH.scalar_type() == parameters_.flat().scalar_type(),
          "hidden is contiguous [N, H] of the model's dtype");
    return logits_of(hidden_NH, packed<T>().head, parameters_.architecture().vocabulary);
  });
}

at::Tensor Transformer::head_VH() const {
  return parameters_[parameters_.architecture().tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight"];
}

}  // namespace troupe
