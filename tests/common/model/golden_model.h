#pragma once

#include <filesystem>
#include <map>
#include <string>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "common/model/safetensors.h"
#include "common/model/token_logprobs.h"
#include "common/model/transformer.h"

namespace troupe::testing {

/// A model, a batch and what PyTorch computed for them in float64: tests/parity/make_model_golden.py.
struct Golden {
  std::map<std::string, at::Tensor> tensors;
  Architecture architecture;
  PackedSequences batch;
  double temperature = 0;

  explicit Golden(const std::string& name) {
    const std::filesystem::path path = std::filesystem::path(TROUPE_TEST_DATA) / "parity" / ("model_" + name + ".safetensors");
    tensors = read_safetensors(path);
    auto metadata = read_safetensors_metadata(path);
    temperature = std::stod(metadata.at("temperature"));
    batch.ids_T = tensors.at("ids").clone();
    batch.sequence_starts = {0};
    for (const std::int64_t length : nlohmann::json::parse(metadata.at("lengths"))) {
      batch.sequence_starts.push_back(batch.sequence_starts.back() + length);
    }
    architecture.model_type = name;
    architecture.vocabulary = name == "llama" ? 40 : 37;
    architecture.hidden = name == "qwen2" ? 48 : 32;
    architecture.intermediate = name == "llama" ? 48 : 40;
    architecture.layers = name == "llama" ? 2 : 1;
    architecture.heads = name == "qwen2" ? 3 : 4;
    architecture.kv_heads = name == "qwen2" ? 1 : 2;
    architecture.head_size = name == "llama" ? 8 : name == "qwen2" ? 16 : 24;
    architecture.max_positions = 64;
    architecture.rope_theta = name == "llama" ? 10000.0 : 1000.0;
    architecture.rms_eps = name == "llama" ? 1e-6 : 1e-5;
    architecture.tied_embeddings = name == "llama";
    architecture.qkv_bias = name == "qwen2";
    architecture.qk_norm = name == "qwen3";
    if (name == "qwen3") {  // with positions stretched four times
      architecture.rope_scaling =
          RopeScaling::from_json({{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 16}}, 0.0, "golden");
    }
  }

  Transformer model(at::ScalarType dtype, at::Device device = at::kCPU) const {
    Parameters parameters(architecture, dtype, device);
    for (const ParameterSpec& spec : parameters.layout().tensors) {
      parameters[spec.name].copy_(tensors.at("weight." + spec.name));
    }
    return Transformer(parameters);
  }
};

/// On the CPU.
struct Computed {
  at::Tensor logits, gradients;
  TokenLogprobs logprobs;
};

inline Computed compute(const Golden& golden, const Transformer& model) {
  Computed result;
  Activations saved;
  const at::Tensor hidden = model.forward(golden.batch, &saved), head = model.head_VH();
  const at::Tensor targets = golden.tensors.at("targets").clone(), grad_logp = golden.tensors.at("grad_logp").to(hidden.device());
  result.logits = model.logits(hidden).cpu();
  result.logprobs = token_logprobs(hidden, head, targets, golden.temperature);
  at::Tensor gradients = at::zeros({model.parameters().layout().total}, hidden.options().dtype(at::kFloat));
  at::Tensor grad_head = gradients.narrow(0, model.head_offset(), head.numel()).view_as(head);
  const at::Tensor grad_hidden = token_logprobs_backward(hidden, head, targets, golden.temperature, result.logprobs, grad_logp, grad_head);
  model.backward(golden.batch, saved, grad_hidden, gradients);
  result.gradients = gradients.cpu();
  for (at::Tensor* tensor : {&result.logprobs.logp_N, &result.logprobs.entropy_N, &result.logprobs.lse_N}) *tensor = tensor->cpu();
  return result;
}

/// The largest difference as a share of the largest value expected.
inline double error_of(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).abs().max() / expected.abs().max()).item<double>();
}

/// The root mean square of the difference as a share of that of the values expected.
inline double rms_error_of(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).norm() / expected.norm()).item<double>();
}

}  // namespace troupe::testing
