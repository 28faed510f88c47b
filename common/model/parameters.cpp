#include "common/model/parameters.h"

#include <cmath>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/model/tensor_cut.h"

namespace troupe {
namespace {

constexpr std::int64_t kAlignment = 16;

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

ParameterLayout::ParameterLayout(const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& named_shapes) {
  for (const auto& [name, shape] : named_shapes) {
    const std::int64_t numel = c10::multiply_integers(shape);
    tensors.push_back({name, shape, total, numel});
    total = (total + numel + kAlignment - 1) / kAlignment * kAlignment;
  }
  units = {0, total};
}

ParameterLayout::ParameterLayout(const Architecture& a) {
  const auto align = [&] { total = (total + kAlignment - 1) / kAlignment * kAlignment; };
  const auto join = [&](const std::string& name, std::vector<std::int64_t> shape) {
    std::int64_t numel = 1;
    for (const std::int64_t size : shape) numel *= size;
    tensors.push_back({name, std::move(shape), total, numel});
    total += numel;
  };
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    align();
    join(name, std::move(shape));
  };
  const std::int64_t queries = a.heads * a.head_size, keys = a.kv_heads * a.head_size;
  const auto begin_unit = [&] {
    align();
    units.push_back(total);
  };
  begin_unit();
  add("model.embed_tokens.weight", {a.vocabulary, a.hidden});
  for (std::int64_t layer = 0; layer < a.layers; ++layer) {
    const std::string block = "model.layers." + std::to_string(layer) + ".";
    begin_unit();
    add(block + "input_layernorm.weight", {a.hidden});
    add(block + "self_attn.q_proj.weight", {queries, a.hidden});
    join(block + "self_attn.k_proj.weight", {keys, a.hidden});
    join(block + "self_attn.v_proj.weight", {keys, a.hidden});
    if (a.qkv_bias) {
      add(block + "self_attn.q_proj.bias", {queries});
      join(block + "self_attn.k_proj.bias", {keys});
      join(block + "self_attn.v_proj.bias", {keys});
    }
    if (a.qk_norm) {
      add(block + "self_attn.q_norm.weight", {a.head_size});
      add(block + "self_attn.k_norm.weight", {a.head_size});
    }
    add(block + "self_attn.o_proj.weight", {a.hidden, queries});
    add(block + "post_attention_layernorm.weight", {a.hidden});
    add(block + "mlp.gate_proj.weight", {a.intermediate, a.hidden});
    join(block + "mlp.up_proj.weight", {a.intermediate, a.hidden});
    add(block + "mlp.down_proj.weight", {a.hidden, a.intermediate});
  }
  begin_unit();
  add("model.norm.weight", {a.hidden});
  if (a.scores) {
    add("score.weight", {1, a.hidden});
  } else if (!a.tied_embeddings) {
    add("lm_head.weight", {a.vocabulary, a.hidden});
  }
  begin_unit();
}

const ParameterSpec& ParameterLayout::find(const std::string& name) const {
  for (const ParameterSpec& spec : tensors) {
    if (spec.name == name) return spec;
  }
  throw ConfigError("the architecture has no tensor '" + name + "'");
}

std::int64_t ParameterLayout::joined(const std::string& first, std::int64_t rows) const {
  const ParameterSpec& head = find(first);
  const std::int64_t columns = head.numel / head.shape[0];
  std::int64_t found = 0;
  for (const ParameterSpec* spec = &head; found < rows; ++spec) {
    const bool inside = spec < tensors.data() + tensors.size();
    if (!inside || spec->numel / spec->shape[0] != columns || spec->offset != head.offset + found * columns) {
      throw InternalError("tensors from '" + first + "' on cannot be joined to " + std::to_string(rows) + " rows");
    }
    found += spec->shape[0];
  }
  check(found == rows, "joined rows end within a tensor");
  return head.offset;
}

Parameters::Parameters(const Architecture& architecture, at::ScalarType dtype, at::Device device)
    : Parameters(architecture, ParameterLayout(architecture), dtype, device) {}

Parameters::Parameters(const Architecture& architecture, ParameterLayout layout, at::ScalarType dtype, at::Device device)
    : architecture_(architecture), layout_(std::move(layout)) {
  if (dtype != at::kFloat && dtype != at::kBFloat16) {
    throw ConfigError(std::string("parameters are fp32 or bf16, not ") + c10::toString(dtype));
  }
  flat_ = at::zeros({layout_.total}, at::TensorOptions(dtype).device(device));
}

Parameters::Parameters(const Architecture& architecture, at::Tensor slice, std::shared_ptr<ParameterUnits> units,
                       std::shared_ptr<const TensorCut> cut)
    : architecture_(architecture), layout_(architecture), flat_(std::move(slice)), units_(std::move(units)), cut_(std::move(cut)) {}

Parameters::Parameters(std::shared_ptr<const TensorCut> cut, at::ScalarType dtype, at::Device device) : Parameters(cut->part(), dtype, device) {
  cut_ = std::move(cut);
}

const Architecture& Parameters::whole_architecture() const { return cut_ ? cut_->whole() : architecture_; }

const ParameterLayout& Parameters::whole_layout() const { return cut_ ? cut_->whole_layout() : layout_; }

void Parameters::set_unit_(std::int64_t number, const at::Tensor& whole) const {
  check(!sharded(), "units of sharded parameters are set a slice at a time");
  const at::Tensor own = unit(number);
  if (cut_) {
    cut_->take_(number, whole, cut_->group().rank(), own);
  } else {
    own.copy_(whole);
  }
}

at::Tensor Parameters::unit(std::int64_t number, std::int64_t next) const {
  if (sharded()) return units_->take(number, next);
  const std::int64_t begin = layout_.units[static_cast<std::size_t>(number)];
  return flat_.narrow(0, begin, layout_.units[static_cast<std::size_t>(number) + 1] - begin);
}

void Parameters::settle() const {
  if (sharded()) units_->settle();
}

Parameters Parameters::on(at::Device device, std::optional<at::ScalarType> dtype) const {
  check(!sharded(), "whole parameters are copied");
  Parameters copy = *this;
  copy.flat_ = flat_.to(device, dtype.value_or(flat_.scalar_type()), /*non_blocking=*/false, /*copy=*/true);
  return copy;
}

at::Tensor Parameters::operator[](const std::string& name) const {
  check(!sharded(), "tensors are views of whole parameters");
  const ParameterSpec& spec = layout_.find(name);
  return flat_.narrow(0, spec.offset, spec.numel).view(spec.shape);
}

void initialise_(Parameters& parameters, std::uint64_t seed) {
  const double residual_scale = 1.0 / std::sqrt(2.0 * static_cast<double>(parameters.architecture().layers));
  parameters.flat().zero_();
  for (const ParameterSpec& spec : parameters.layout().tensors) {
    at::Tensor tensor = parameters[spec.name];
    if (ends_with(spec.name, "norm.weight")) tensor.fill_(1.0);
    if (spec.shape.size() < 2) continue;
    const bool residual = ends_with(spec.name, "o_proj.weight") || ends_with(spec.name, "down_proj.weight");
    const double deviation = 0.02 * (residual ? residual_scale : 1.0);
    at::Tensor values = at::empty({spec.numel}, at::kFloat);
    float* data = values.mutable_data_ptr<float>();
    at::parallel_for(0, spec.numel, 4096, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        data[i] = static_cast<float>(deviation * normal_at(seed, static_cast<std::uint64_t>(spec.offset + i)));
      }
    });
    tensor.copy_(values.view(spec.shape));
  }
}

}  // namespace troupe
