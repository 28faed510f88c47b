#include "learner/lora.h"

#include <ATen/ATen.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/model/checkpoint_io.h"
#include "common/model/safetensors.h"
#include "learner/gathered_units.h"

namespace troupe {
namespace {

std::vector<std::string> names_of(const LoraConfig& lora) {
  std::vector<std::string> names;
  for (const std::string_view target : split(lora.targets, ',')) names.emplace_back(trim(target));
  return names;
}

/// Whether the tensor is the weight of one of the targets: "…self_attn.q_proj.weight".
bool is_target(const std::string& tensor, const std::vector<std::string>& targets) {
  for (const std::string& target : targets) {
    if (tensor.ends_with("." + target + ".weight")) return true;
  }
  return false;
}

/// "model.layers.0.mlp.up_proj.weight" to "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight".
std::string adapter_name(const std::string& tensor, const char* which) {
  const std::string module = tensor.substr(0, tensor.size() - std::string_view("weight").size());
  return "base_model.model." + module + which + ".weight";
}

}  // namespace

ParameterLayout lora_layout(const LoraConfig& lora, const Architecture& architecture) {
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> tensors;
  const std::vector<std::string> targets = names_of(lora);
  for (const ParameterSpec& weight : ParameterLayout(architecture).tensors) {
    if (!is_target(weight.name, targets)) continue;
    tensors.push_back({adapter_name(weight.name, "lora_A"), {lora.rank, weight.shape[1]}});
    tensors.push_back({adapter_name(weight.name, "lora_B"), {weight.shape[0], lora.rank}});
  }
  return ParameterLayout(tensors);
}

ParameterLayout trained_layout(const Config& config, const Architecture& architecture) {
  return config.lora.rank > 0 ? lora_layout(config.lora, architecture) : ParameterLayout(architecture);
}

LoraAdapters::LoraAdapters(const LoraConfig& config, Parameters base, std::uint64_t seed)
    : config_(config),
      base_(std::move(base)),
      adapters_(base_.architecture(), lora_layout(config, base_.architecture()), at::kFloat, base_.flat().device()),
      scale_(config.alpha / static_cast<double>(config.rank)) {
  const std::vector<std::string> names = names_of(config);
  std::uint64_t number = 0;
  for (const ParameterSpec& weight : base_.layout().tensors) {
    if (!is_target(weight.name, names)) continue;
    const std::string a = adapter_name(weight.name, "lora_A"), b = adapter_name(weight.name, "lora_B");
    const Target& target = targets_.emplace_back(
        Target{weight, adapters_[a], adapters_[b], adapters_.layout().find(a).offset, adapters_.layout().find(b).offset});
    const double bound = 1.0 / std::sqrt(static_cast<double>(weight.shape[1]));
    at::Tensor start = at::empty(target.a.sizes(), at::kFloat);
    float* const first = start.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < start.numel(); ++i) {
      const double uniform = uniform_at(seed, number, 0, static_cast<std::uint32_t>(i));
      first[i] = static_cast<float>(bound * (2.0 * uniform - 1.0));
    }
    target.a.copy_(start);
    ++number;
  }
}

void LoraAdapters::merge_into_(const Parameters& model) const {
  model.flat().copy_(base_.flat());
  for (const Target& target : targets_) {
    const at::Tensor whole = at::addmm(base_[target.weight.name], target.b, target.a, 1.0, scale_);
    model[target.weight.name].copy_(whole);
  }
}

at::Tensor LoraAdapters::project(const at::Tensor& gradients) const {
  at::Tensor projected = at::zeros({adapters_.layout().total}, adapters_.flat().options());
  add_projection_(projected, gradients, 0);
  return projected;
}

void LoraAdapters::add_projection_(const at::Tensor& projected, const at::Tensor& gradients, std::int64_t begin) const {
  const auto place = [&](std::int64_t offset, const at::Tensor& like) {
    return projected.narrow(0, offset, like.numel()).view(like.sizes());
  };
  for (const Target& target : targets_) {
    const std::int64_t at = target.weight.offset - begin;
    if (at < 0 || at >= gradients.numel()) continue;
    const at::Tensor whole = gradients.narrow(0, at, target.weight.numel).view(target.weight.shape);
    place(target.a_offset, target.a).add_(at::mm(target.b.t(), whole).mul_(scale_));
    place(target.b_offset, target.b).add_(at::mm(whole, target.a.t()).mul_(scale_));
  }
}

void LoraAdapters::save(const std::filesystem::path& folder, const std::filesystem::path& base_path) const {
  std::filesystem::create_directories(folder);
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const ParameterSpec& spec : adapters_.layout().tensors) tensors.emplace_back(spec.name, adapters_[spec.name].cpu());
  write_safetensors(folder / "adapter_model.safetensors", tensors, {{"format", "pt"}});
  const nlohmann::ordered_json config = {{"peft_type", "LORA"},
                                         {"task_type", "CAUSAL_LM"},
                                         {"base_model_name_or_path", base_path.string()},
                                         {"r", config_.rank},
                                         {"lora_alpha", config_.alpha},
                                         {"lora_dropout", 0.0},
                                         {"target_modules", names_of(config_)},
                                         {"bias", "none"},
                                         {"fan_in_fan_out", false},
                                         {"inference_mode", true}};
  write_file_atomically(folder / "adapter_config.json", config.dump(2) + "\n");
}

std::optional<LoraAdapters> make_lora(const Config& config, const Parameters& base, at::Device device) {
  if (config.lora.rank == 0) return std::nullopt;
  return LoraAdapters(config.lora, device.is_cpu() ? base : base.on(device), seed_for(config.run.seed, Stream::kAdapters));
}

ShardedOptimizer make_optimizer(const std::optional<LoraAdapters>& lora, const Parameters& model, const Parameters& initial,
                                const Config& config, const ShardRanks& ranks) {
  const bool offload = config.learners.offload == "optimizer" || config.learners.offload == "all";
  if (!lora) return ShardedOptimizer(model, initial.flat(), config.optimizer, config.run.steps, ranks, offload);
  merge_(*lora, model, ranks.all());
  return ShardedOptimizer(lora->parameters(), lora->parameters().flat().cpu().clone(), config.optimizer, config.run.steps, ranks, offload);
}

void merge_(const LoraAdapters& lora, const Parameters& model, const Communicator& communicator) {
  if (!model.sharded() && model.cut() == nullptr) return lora.merge_into_(model);
  const Parameters whole(model.whole_architecture(), model.flat().scalar_type());
  lora.merge_into_(whole);
  set_from_whole_(model, whole.flat(), communicator);
}

void export_model(const std::optional<LoraAdapters>& lora, const Architecture& architecture, const at::Tensor& master,
                  const std::filesystem::path& start, const std::filesystem::path& folder) {
  Parameters exported(architecture, at::kFloat);
  if (lora) {
    lora->merge_into_(exported);
    lora->save(folder / "adapter", start);
  } else {
    exported.flat().copy_(master);
  }
  save_hugging_face(exported, start, folder / "hf");
}

}  // namespace troupe
