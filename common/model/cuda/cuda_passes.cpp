#include "common/model/cuda/cuda_passes.h"

#include <algorithm>
#include <string>

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/cuda/activations.h"
#include "common/model/cuda/decode_attention.h"
#include "common/model/cuda/device.h"
#include "common/model/cuda/forward_kernels.h"
#include "common/model/cuda/gemm.h"
#include "common/model/cuda/hopper/attention_forward.h"
#include "common/model/cuda/hopper/few_rows.h"
#include "common/model/cuda/hopper/swiglu.h"
#include "common/model/cuda/packed_inputs.h"
#include "common/model/passes.h"
#include "common/model/tensor_cut.h"

namespace troupe {
namespace {

void check_sizes(const Architecture& a, const Parameters& parameters) {
  if (parameters.flat().scalar_type() != at::kBFloat16) {
    throw ConfigError(std::string("a model on a GPU computes in bf16, not in ") + c10::toString(parameters.flat().scalar_type()) +
                      ": set model.dtype = bf16, or device = cpu");
  }
  const auto multiple = [&](std::int64_t value, const char* name) {
    if (value % 8 != 0) {
      throw ConfigError("a model on a GPU has sizes that are multiples of 8: " + std::string(name) + " is " + std::to_string(value));
    }
  };
  multiple(a.hidden, "hidden_size");
  multiple(a.intermediate, "intermediate_size");
  multiple(a.head_size, "head_dim");
}

template <typename T>
T* at_layer(const at::Tensor& pages, std::int64_t layer) {
  return data_of<T>(pages) + layer * (pages.numel() / pages.size(0));
}

/// Attention of rows packed by sequence over keys that lie packed too, by ATen's flash attention. Queries [T, heads, D], keys and
/// values [K, kv_heads, D]; attended and log-sum-exps.
std::pair<at::Tensor, at::Tensor> flash_attention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                                                  const at::Tensor& starts, const at::Tensor& key_starts, std::int64_t longest,
                                                  std::int64_t longest_keys) {
  // Sequences of one query each are computed by another kernel, with other bits, where that is said.
  auto [attended, lse, state, unused, mask] = at::_flash_attention_forward(queries, keys, values, starts, key_starts, std::max<std::int64_t>(longest, 2),
                                                                           longest_keys, 0.0, true, false);
  return {attended, lse};
}

/// What forward_cached uploads of its runs.
struct CachedRows {
  DeviceInts ints;
  std::int64_t positions = 0, slots = 0, lengths = 0, shared = 0, pages = 0, page_stride = 1;
  std::int64_t starts = 0, key_starts = 0, key_slots = 0, keys = 0;
  std::int64_t longest = 0, longest_keys = 0;
  bool decodes = false;

  CachedRows(std::span<const CachedRun> runs, bool can_decode);

 private:
  static std::int32_t slot_of(const CachedRun& run, std::int64_t position);
};

std::int32_t CachedRows::slot_of(const CachedRun& run, std::int64_t position) {
  const bool is_shared = position < run.shared_tokens;
  const std::int64_t index = is_shared ? position : position - run.shared_tokens;
  const std::int32_t page = (is_shared ? run.shared_pages : run.pages)[static_cast<std::size_t>(index / kPageTokens)];
  return page * static_cast<std::int32_t>(kPageTokens) + static_cast<std::int32_t>(index % kPageTokens);
}

CachedRows::CachedRows(std::span<const CachedRun> runs, bool can_decode) {
  std::vector<std::int32_t> position, slot, length, shared_tokens, start{0}, key_start{0}, key_slot, table;
  for (const CachedRun& run : runs) page_stride = std::max(page_stride, std::ssize(run.shared_pages) + std::ssize(run.pages));
  for (const CachedRun& run : runs) {
    const bool single = can_decode && run.tokens == 1;
    const std::int64_t end = run.first_position + run.tokens;
    decodes = decodes || single;
    for (std::int64_t i = 0; i < run.tokens; ++i) {
      position.push_back(static_cast<std::int32_t>(run.first_position + i));
      slot.push_back(slot_of(run, run.first_position + i));
      length.push_back(single ? static_cast<std::int32_t>(end) : 0);
      shared_tokens.push_back(static_cast<std::int32_t>(run.shared_tokens));
      const std::size_t begin = table.size();
      table.resize(begin + static_cast<std::size_t>(page_stride), 0);
      if (!single) continue;
      // Shared pages behind those that the shared tokens fill are the other sequences' business.
      const auto used = run.shared_pages.first(static_cast<std::size_t>(pages_of(run.shared_tokens)));
      std::copy(run.pages.begin(), run.pages.end(), std::copy(used.begin(), used.end(), table.begin() + static_cast<std::ptrdiff_t>(begin)));
    }
    start.push_back(start.back() + static_cast<std::int32_t>(run.tokens));
    longest = std::max(longest, run.tokens);
    if (!single) {
      for (std::int64_t i = 0; i < end; ++i) key_slot.push_back(slot_of(run, i));
      longest_keys = std::max(longest_keys, end);
    }
    key_start.push_back(static_cast<std::int32_t>(key_slot.size()));
  }
  positions = ints.add(position);
  slots = ints.add(slot);
  lengths = ints.add(length);
  shared = ints.add(shared_tokens);
  pages = ints.add(table);
  starts = ints.add(start);
  key_starts = ints.add(key_start);
  keys = std::ssize(key_slot);
  key_slots = ints.add(key_slot);
  ints.upload();
}

}  // namespace

CudaPasses::CudaPasses(const Parameters& parameters, bool exact)
    : architecture_(parameters.architecture()),
      offsets_(parameters.layout(), parameters.architecture()),
      units_(parameters.layout().units),
      exact_(exact),
      parameters_(parameters),
      cut_(parameters.cut()),
      blocks_(parameters.sharded() ? 1 : static_cast<std::size_t>(architecture_.layers)) {
  check_sizes(architecture_, parameters);
  if (parameters.sharded()) return;
  for (std::int64_t unit = 0; unit < std::ssize(units_) - 1; ++unit) view(unit, parameters.unit(unit));
}

void CudaPasses::view(std::int64_t unit, const at::Tensor& values) const {
  const Architecture& a = architecture_;
  const std::int64_t begin = units_[static_cast<std::size_t>(unit)], attended = a.heads * a.head_size;
  const auto vector = [&](std::int64_t offset, std::int64_t count) {
    return offset < 0 ? at::Tensor() : values.narrow(0, offset - begin, count);
  };
  const auto matrix = [&](std::int64_t offset, std::int64_t rows, std::int64_t columns) {
    return vector(offset, rows * columns).view({rows, columns});
  };
  if (unit == 0) embedding_ = matrix(offsets_.embedding, a.vocabulary, a.hidden);
  if (unit == a.layers + 1) final_norm_ = vector(offsets_.final_norm, a.hidden);
  if (unit == (offsets_.head == offsets_.embedding ? 0 : a.layers + 1)) head_ = matrix(offsets_.head, a.scores ? 1 : a.vocabulary, a.hidden);
  if (unit == 0 || unit == a.layers + 1) return;
  const ModelOffsets::Block& at = offsets_.blocks[static_cast<std::size_t>(unit - 1)];
  const std::int64_t width = attended + 2 * a.kv_heads * a.head_size;
  block(unit - 1) = {vector(at.attention_norm, a.hidden), matrix(at.qkv, width, a.hidden), vector(at.qkv_bias, width),
                     vector(at.q_norm, a.head_size), vector(at.k_norm, a.head_size), matrix(at.output, a.hidden, attended),
                     vector(at.mlp_norm, a.hidden), matrix(at.gate_up, 2 * a.intermediate, a.hidden), matrix(at.down, a.hidden, a.intermediate)};
}

void CudaPasses::enter(std::int64_t unit, std::int64_t next) const {
  if (parameters_.sharded()) view(unit, parameters_.unit(unit, next));
}

void CudaPasses::add_and_norm(const CudaActivations& buffers, std::int64_t stream, const at::Tensor& delta) const {
  const Architecture& a = architecture_;
  const std::int64_t layer = stream / 2;
  const at::Tensor& weight = layer == a.layers ? final_norm_ : stream % 2 == 0 ? block(layer).attention_norm : block(layer).mlp_norm;
  const at::Tensor before = buffers.residual_TH(delta.defined() ? stream - 1 : stream), after = buffers.residual_TH(stream);
  cuda::add_rms_norm(data_of<float>(before), delta.defined() ? data_of<Bf16>(delta) : nullptr, data_of<Bf16>(weight),
                     static_cast<float>(a.rms_eps), buffers.rows(), a.hidden, data_of<float>(after), data_of<Bf16>(buffers.normed_TH(stream)),
                     buffers.inverse_rms(stream), current_stream());
}

void CudaPasses::multiply_jointly(const at::Tensor& out, std::int64_t rows, const std::function<void(const at::Tensor& out)>& product) const {
  if (cut_ == nullptr) return product(out);
  const at::Tensor sum = at::empty(out.sizes(), on_gpu(at::kFloat));
  product(sum);
  const at::Tensor used = sum.narrow(0, 0, rows);
  cut_->group().sum_(used);
  out.narrow(0, 0, rows).copy_(used);
}

cuda::QkvRows CudaPasses::qkv_rows(const CudaActivations& buffers, const Batch& rows, const at::Tensor& rope, std::int64_t layer) const {
  const Architecture& a = architecture_;
  const Block& block = this->block(layer);
  const auto data = [](const at::Tensor& tensor) { return tensor.defined() ? data_of<Bf16>(tensor) : nullptr; };
  cuda::QkvRows qkv{};
  qkv.qkv = data_of<Bf16>(buffers.qkv(layer));
  qkv.rows = buffers.rows();
  qkv.heads = static_cast<std::int32_t>(a.heads);
  qkv.kv_heads = static_cast<std::int32_t>(a.kv_heads);
  qkv.head_size = static_cast<std::int32_t>(a.head_size);
  qkv.bias = data(block.qkv_bias);
  qkv.q_norm = data(block.q_norm);
  qkv.k_norm = data(block.k_norm);
  qkv.eps = static_cast<float>(a.rms_eps);
  qkv.unnormed = data(buffers.unnormed(layer));
  qkv.positions = rows.positions;
  qkv.rope = data_of<float>(rope);
  if (rows.cache != nullptr) {
    qkv.keys = at_layer<Bf16>(rows.cache->keys, layer);
    qkv.values = at_layer<Bf16>(rows.cache->values, layer);
    qkv.slots = rows.slots;
  }
  return qkv;
}

void CudaPasses::activate(const CudaActivations& buffers, std::int64_t layer) const {
  const at::Tensor normed = buffers.normed_TH(2 * layer + 1), gate_up = buffers.gate_up(layer), activated = buffers.activated(layer);
  const at::Tensor& weights = block(layer).gate_up;
  const cuda::GateUpProduct product{data_of<Bf16>(normed),      data_of<Bf16>(weights),
                                    buffers.rows(),             architecture_.hidden,
                                    architecture_.intermediate, buffers.keeps() ? data_of<Bf16>(gate_up) : nullptr,
                                    data_of<Bf16>(activated)};
  if (cuda::fused_swiglu_serves(product)) {
    cuda::fused_swiglu(product, current_stream());
    return;
  }
  multiply_transposed(normed, weights, gate_up, exact_ ? Rows::kExact : Rows::kFree);
  cuda::swiglu(data_of<Bf16>(gate_up), buffers.rows(), architecture_.intermediate, data_of<Bf16>(activated), current_stream());
}

template <typename Attend>
at::Tensor CudaPasses::run(const CudaActivations& buffers, const Batch& rows, const at::Tensor& rope, const Attend& attend) const {
  const Architecture& a = architecture_;
  const std::int64_t count = buffers.rows();
  const Rows exactness = exact_ ? Rows::kExact : Rows::kFree;
  const std::int64_t down_rows = exact_ ? std::max(count, kLeastActivatedRows) : count;
  const at::Tensor delta_all = at::empty({down_rows, a.hidden}, on_gpu(at::kBFloat16)), delta = delta_all.narrow(0, 0, count);
  enter(0, after(0));
  cuda::embed(data_of<Bf16>(embedding_), rows.ids, count, a.hidden, data_of<float>(buffers.residual_TH(0)), current_stream());
  enter(1, after(1));
  add_and_norm(buffers, 0, {});
  for (std::int64_t layer = 0; layer < a.layers; ++layer) {
    const Block& block = this->block(layer);
    multiply_transposed(buffers.normed_TH(2 * layer), block.qkv, buffers.qkv(layer), exactness);
    if (!rows.attention_finishes) cuda::finish_qkv(qkv_rows(buffers, rows, rope, layer), current_stream());
    const at::Tensor attended = attend(layer);
    multiply_jointly(delta, count, [&](const at::Tensor& out) { multiply_transposed(attended, block.output, out, exactness); });
    add_and_norm(buffers, 2 * layer + 1, delta);
    activate(buffers, layer);
    const at::Tensor activated = buffers.activated(layer).narrow(0, 0, down_rows);
    multiply_jointly(delta_all, count, [&](const at::Tensor& out) { multiply_transposed(activated, block.down, out, exactness); });
    enter(layer + 2, after(layer + 2));
    add_and_norm(buffers, 2 * layer + 2, delta);
  }
  check_cuda(cudaGetLastError(), "the forward pass");
  return buffers.normed_TH(2 * a.layers);
}

at::Tensor CudaPasses::forward(const PackedSequences& batch, const at::Tensor& rope, Activations* saved) const {
  const Architecture& a = architecture_;
  const std::int64_t rows = batch.ids_T.numel();
  const at::Tensor ids = batch.ids_T.to(at::kCUDA);
  const PackedInputs inputs(batch);

  Activations unsaved;
  Activations& storage = saved == nullptr ? unsaved : *saved;
  storage.attended.clear();
  storage.lse.clear();
  const CudaActivations buffers(a, rows, saved != nullptr, storage);
  if (rows == 0) {
    for (std::int64_t unit = 0; unit >= 0; unit = after(unit)) enter(unit, after(unit));
    return buffers.normed_TH(2 * a.layers);
  }
  return run(buffers, {data_of<std::int64_t>(ids), inputs.positions()}, rope, [&](std::int64_t layer) {
    const auto [attended, lse] = attend_packed(buffers, layer, inputs);
    if (saved != nullptr && buffers.keeps_attention()) {
      storage.attended.push_back(attended);
      storage.lse.push_back(lse);
    }
    return attended.view({rows, a.heads * a.head_size});
  });
}

std::pair<at::Tensor, at::Tensor> CudaPasses::attend_packed(const CudaActivations& buffers, std::int64_t layer, const PackedInputs& inputs) const {
  const Architecture& a = architecture_;
  const at::Tensor heads = buffers.qkv(layer).view({buffers.rows(), a.heads + 2 * a.kv_heads, a.head_size});
  cuda::AttentionRows own{};
  own.qkv = data_of<Bf16>(heads);
  own.rows = buffers.rows();
  own.heads = static_cast<std::int32_t>(a.heads);
  own.kv_heads = static_cast<std::int32_t>(a.kv_heads);
  own.head_size = static_cast<std::int32_t>(a.head_size);
  own.starts = data_of<std::int32_t>(inputs.starts());
  own.sequences = static_cast<std::int32_t>(inputs.sequences());
  own.longest = static_cast<std::int32_t>(inputs.longest());
  if (!inputs.shares() && cuda::attention_forward_serves(own)) {
    const at::Tensor attended = at::empty({own.rows, a.heads, a.head_size}, on_gpu(at::kBFloat16)), lse = at::empty({a.heads, own.rows}, on_gpu(at::kFloat));
    own.attended = data_of<Bf16>(attended);
    own.lse = data_of<float>(lse);
    cuda::attention_forward(own, current_stream());
    return {attended, lse};
  }
  const at::Tensor keys = inputs.keys_of(heads.narrow(1, a.heads, 2 * a.kv_heads));
  return flash_attention(heads.narrow(1, 0, a.heads), keys.narrow(1, 0, a.kv_heads), keys.narrow(1, a.kv_heads, a.kv_heads), inputs.starts(),
                         inputs.key_starts(), inputs.longest(), inputs.longest_keys());
}

at::Tensor CudaPasses::forward_cached(const at::Tensor& ids_T, std::span<const CachedRun> runs, const at::Tensor& rope, KvCache& cache) const {
  const Architecture& a = architecture_;
  const std::int64_t rows = ids_T.numel();
  const at::Tensor ids = ids_T.to(at::kCUDA);
  const CachedRows cached(runs, decodes());
  DecodeInputs inputs;
  inputs.lengths = cached.ints.at(cached.lengths, rows);
  inputs.shared_tokens = cached.ints.at(cached.shared, rows);
  inputs.pages = cached.ints.at(cached.pages, rows * cached.page_stride).view({rows, cached.page_stride});
  const at::Tensor starts = cached.ints.at(cached.starts, std::ssize(runs) + 1);
  const at::Tensor key_starts = cached.ints.at(cached.key_starts, std::ssize(runs) + 1);
  const at::Tensor keys = at::empty({cached.keys, a.kv_heads, a.head_size}, on_gpu(at::kBFloat16)), values = at::empty_like(keys);

  Activations storage;
  const CudaActivations buffers(a, rows, false, storage);
  const Batch all{data_of<std::int64_t>(ids), cached.ints.data(cached.positions), cached.ints.data(cached.slots), &cache};
  return run(buffers, all, rope, [&](std::int64_t layer) {
    at::Tensor attended;
    if (cached.keys > 0) {
      cuda::gather_positions(at_layer<Bf16>(cache.keys, layer), at_layer<Bf16>(cache.values, layer), cached.ints.data(cached.key_slots),
                             cached.keys, a.kv_heads, a.head_size, data_of<Bf16>(keys), data_of<Bf16>(values), current_stream());
      const at::Tensor queries = buffers.qkv(layer).view({rows, a.heads + 2 * a.kv_heads, a.head_size}).narrow(1, 0, a.heads);
      // Rows of single tokens are sequences without keys here.
      attended = flash_attention(queries, keys, values, starts, key_starts, cached.longest, cached.longest_keys).first;
    } else {
      attended = at::empty({rows, a.heads, a.head_size}, on_gpu(at::kBFloat16));
    }
    attended = attended.view({rows, a.heads * a.head_size});
    return cached.decodes ? attend_decoding(buffers, all, rope, layer, inputs, attended) : attended;
  });
}

at::Tensor CudaPasses::attend_decoding(const CudaActivations& buffers, const Batch& batch, const at::Tensor& rope, std::int64_t layer,
                                       const DecodeInputs& inputs, const at::Tensor& attended) const {
  cuda::DecodeRows rows{};
  rows.qkv = qkv_rows(buffers, batch, rope, layer);
  rows.unfinished = batch.attention_finishes;
  rows.attended = data_of<Bf16>(attended);
  rows.lengths = data_of<std::int32_t>(inputs.lengths);
  rows.shared_tokens = data_of<std::int32_t>(inputs.shared_tokens);
  rows.pages = data_of<std::int32_t>(inputs.pages);
  rows.page_stride = inputs.pages.stride(0);
  cuda::decode_attention(rows, current_stream());
  return attended;
}

bool CudaPasses::decodes() const {
  return cuda::decode_attention_serves(architecture_.heads, architecture_.kv_heads, architecture_.head_size);
}

at::Tensor CudaPasses::decode(const DecodeInputs& inputs, const at::Tensor& rope, KvCache& cache) const {
  const Architecture& a = architecture_;
  const std::int64_t rows = inputs.ids.numel();
  Activations storage;
  const CudaActivations buffers(a, rows, false, storage);
  const at::Tensor attended = at::empty({rows, a.heads * a.head_size}, on_gpu(at::kBFloat16));
  const Batch all{data_of<std::int64_t>(inputs.ids), data_of<std::int32_t>(inputs.positions), data_of<std::int32_t>(inputs.slots), &cache, true};
  const auto attend = [&](std::int64_t layer) { return attend_decoding(buffers, all, rope, layer, inputs, attended); };
  return cut_ == nullptr && few(rows) ? run_few(buffers, all, attend) : run(buffers, all, rope, attend);
}

bool CudaPasses::few(std::int64_t rows) const {
  const Architecture& a = architecture_;
  return rows > 0 && rows <= cuda::kFewRows && cuda::few_rows_serve(a.hidden, a.heads * a.head_size, a.intermediate);
}

template <typename Attend>
at::Tensor CudaPasses::run_few(const CudaActivations& buffers, const Batch& rows, const Attend& attend) const {
  const Architecture& a = architecture_;
  const std::int64_t count = buffers.rows();
  const at::Tensor activated = buffers.activated(0).narrow(0, 0, count);
  float* const residual = data_of<float>(buffers.residual_TH(0));
  const auto normed = [&](const at::Tensor& weight) {
    return cuda::FewRows{count, a.hidden, nullptr, residual, data_of<Bf16>(weight), static_cast<float>(a.rms_eps)};
  };
  const auto plain = [&](const at::Tensor& x) { return cuda::FewRows{count, x.size(1), data_of<Bf16>(x)}; };
  cuda::embed(data_of<Bf16>(embedding_), rows.ids, count, a.hidden, residual, current_stream());
  for (std::int64_t layer = 0; layer < a.layers; ++layer) {
    const Block& block = this->block(layer);
    const at::Tensor qkv = buffers.qkv(layer);
    cuda::multiply_few(normed(block.attention_norm), data_of<Bf16>(block.qkv), qkv.size(1), data_of<Bf16>(qkv), current_stream());
    cuda::add_product_few(plain(attend(layer)), data_of<Bf16>(block.output), a.hidden, residual, current_stream());
    cuda::swiglu_few(normed(block.mlp_norm), data_of<Bf16>(block.gate_up), a.intermediate, data_of<Bf16>(activated), current_stream());
    cuda::add_product_few(plain(activated), data_of<Bf16>(block.down), a.hidden, residual, current_stream());
  }
  add_and_norm(buffers, 2 * a.layers, {});
  check_cuda(cudaGetLastError(), "the forward pass of few rows");
  return buffers.normed_TH(2 * a.layers);
}

at::Tensor CudaPasses::logits(const at::Tensor& hidden_NH) const {
  const at::Tensor logits_NV = at::empty({hidden_NH.size(0), architecture_.vocabulary}, on_gpu(at::kFloat));
  if (few(hidden_NH.size(0)) && architecture_.vocabulary % 8 == 0) {
    cuda::multiply_few({hidden_NH.size(0), architecture_.hidden, data_of<Bf16>(hidden_NH)}, data_of<Bf16>(head_), architecture_.vocabulary,
                       data_of<float>(logits_NV), current_stream());
  } else {
    multiply_transposed(hidden_NH, head_, logits_NV, exact_ ? Rows::kExact : Rows::kFree);
  }
  return logits_NV;
}

}  // namespace troupe
