#include "common/model/gguf_checkpoint.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/base/strict_json.h"

namespace troupe {
namespace {

constexpr const char* kRopeFactors = "rope_freqs.weight";

/// Metadata keys of the file's architecture: "llama.block_count".
class Keys {
 public:
  explicit Keys(const GgufFile& file)
      : file_(file), prefix_(json_get<std::string>(file.metadata(), "general.architecture", file.where()) + ".") {}
  template <typename T>
  T get(const char* key) const {
    return json_get<T>(file_.metadata(), prefix_ + key, file_.where());
  }
  template <typename T>
  T get_or(const char* key, T otherwise) const {
    return json_get_or<T>(file_.metadata(), prefix_ + key, std::move(otherwise), file_.where());
  }
  std::string architecture() const { return prefix_.substr(0, prefix_.size() - 1); }
  [[noreturn]] void refuse(const char* key, const std::string& expected, const std::string& found) const {
    throw ConfigError(file_.where() + ": key \"" + prefix_ + key + "\": expected " + expected + ", found " + found);
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

std::vector<double> numbers_of(const GgufTensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements));
  dequantize(tensor.type, tensor.bytes, values);
  return {values.begin(), values.end()};
}

/// llama.cpp writes Llama 3's scaling as one factor a pair of dimensions. Its three other numbers are Llama 3.1's and 3.2's; what they do
/// not explain is refused.
RopeScaling llama3_scaling(const GgufFile& file, const GgufTensor& tensor, const Architecture& a) {
  if (tensor.elements != a.head_size / 2) {
    throw ConfigError(file.where() + ": tensor \"" + kRopeFactors + "\": expected " + std::to_string(a.head_size / 2) +
                      " factors, found " + std::to_string(tensor.elements));
  }
  const std::vector<double> factors = numbers_of(tensor);
  RopeScaling scaling;
  scaling.kind = RopeScaling::Kind::kLlama3;
  scaling.factor = *std::max_element(factors.begin(), factors.end());
  scaling.original_positions = 8192.0;
  const std::vector<float> plain = radians_a_position(a.rope_theta, a.head_size, {});
  const std::vector<float> scaled = radians_a_position(a.rope_theta, a.head_size, scaling);
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double expected = plain[i] / scaled[i];
    if (!(std::abs(expected - factors[i]) <= 1e-4 * factors[i])) {
      throw ConfigError(file.where() + ": tensor \"" + kRopeFactors + "\": factor " + std::to_string(i) + ": expected " +
                        std::to_string(expected) + " (Llama 3.1's scaling by " + std::to_string(scaling.factor) +
                        "), found " + std::to_string(factors[i]));
    }
  }
  return scaling;
}

RopeScaling scaling_of(const GgufFile& file, const Keys& keys, const Architecture& a) {
  const auto type = keys.get_or<std::string>("rope.scaling.type", "none");
  const auto factors = file.tensors().find(kRopeFactors);
  if (type == "none") return factors == file.tensors().end() ? RopeScaling() : llama3_scaling(file, factors->second, a);
  if (factors != file.tensors().end())
    keys.refuse("rope.scaling.type", "none beside the tensor " + std::string(kRopeFactors), type);
  if (type != "linear" && type != "yarn") keys.refuse("rope.scaling.type", "none, linear or yarn", type);
  nlohmann::json scaling = {{"rope_type", type}, {"factor", keys.get<double>("rope.scaling.factor")}};
  if (type == "yarn") {
    scaling["original_max_position_embeddings"] = keys.get<double>("rope.scaling.original_context_length");
    scaling["beta_fast"] = keys.get_or<double>("rope.scaling.yarn_beta_fast", 32.0);
    scaling["beta_slow"] = keys.get_or<double>("rope.scaling.yarn_beta_slow", 1.0);
    if (keys.get_or<double>("rope.scaling.attn_factor", 1.0) != 1.0) keys.refuse("rope.scaling.attn_factor", "1", "another");
  }
  return RopeScaling::from_json(scaling, 0.0, file.where() + ": " + keys.architecture() + ".rope.scaling");
}

std::int64_t token_id(const GgufFile& file, const std::string& key) {
  return json_get_or<std::int64_t>(file.metadata(), "tokenizer.ggml." + key, -1, file.where());
}

const GgufTensor& tensor_of(const GgufFile& file, const std::string& name) {
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end()) throw ConfigError(file.where() + ": tensor \"" + name + "\" is missing");
  return found->second;
}

void replace_(std::string& text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at != std::string::npos) text.replace(at, from.size(), to);
}

/// llama.cpp's name of a tensor (gguf-py/gguf/tensor_mapping.py).
std::string gguf_name(std::string name) {
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  static const std::pair<const char*, const char*> kParts[] = {
      {"model.layers.", "blk."},           {"input_layernorm", "attn_norm"},    {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"}, {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"},
      {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},           {"mlp.down_proj", "ffn_down"}};
  for (const auto& [from, to] : kParts) replace_(name, from, to);
  return name;
}

std::string shape_text(const std::vector<std::int64_t>& shape) { return nlohmann::json(shape).dump(); }

/// llama.cpp turns neighbouring dimensions of Llama's q and k, Hugging Face dimension i and the one half a head further: rows
/// (2 j, 2 j + 1) of a head in the file are rows (j, j + half). [rows, columns]; rows of other tensors stay.
at::Tensor in_hugging_face_order(const at::Tensor& values, const ParameterSpec& spec, const Architecture& a) {
  const bool query = spec.name.ends_with("q_proj.weight"), key = spec.name.ends_with("k_proj.weight");
  if (a.model_type != "llama" || !(query || key)) return values;
  const std::int64_t heads = query ? a.heads : a.kv_heads;
  return values.view({heads, a.head_size / 2, 2, spec.shape[1]}).transpose(1, 2).reshape(spec.shape);
}

}  // namespace

Architecture gguf_architecture(const GgufFile& file) {
  const Keys keys(file);
  Architecture a;
  a.model_type = keys.architecture();
  if (a.model_type != "llama" && a.model_type != "qwen2" && a.model_type != "qwen3") {
    throw ConfigError(file.where() + ": key \"general.architecture\": expected llama, qwen2 or qwen3, found \"" + a.model_type +
                      "\"");
  }
  const auto integer = [&](const char* key) { return keys.get<std::int64_t>(key); };
  const auto integer_or = [&](const char* key, std::int64_t otherwise) { return keys.get_or<std::int64_t>(key, otherwise); };
  const std::vector<std::int64_t>& embedding = tensor_of(file, "token_embd.weight").shape;
  if (embedding.size() != 2)
    throw ConfigError(file.where() + ": tensor \"token_embd.weight\": expected 2 dimensions, found " + shape_text(embedding));
  a.vocabulary = embedding.front();
  a.hidden = integer("embedding_length");
  a.intermediate = integer("feed_forward_length");
  a.layers = integer("block_count");
  a.heads = integer("attention.head_count");
  if (a.heads < 1) keys.refuse("attention.head_count", "at least 1", std::to_string(a.heads));
  a.kv_heads = integer_or("attention.head_count_kv", a.heads);
  a.head_size = integer_or("attention.key_length", a.hidden / a.heads);
  a.max_positions = integer("context_length");
  a.rope_theta = keys.get_or<double>("rope.freq_base", 10000.0);
  a.rms_eps = keys.get<double>("attention.layer_norm_rms_epsilon");
  a.tied_embeddings = !file.tensors().contains("output.weight");
  a.qkv_bias = a.model_type == "qwen2";
  a.qk_norm = a.model_type == "qwen3";
  if (const auto size = integer_or("vocab_size", a.vocabulary); size != a.vocabulary) {
    keys.refuse("vocab_size", "the rows of token_embd.weight, " + std::to_string(a.vocabulary), std::to_string(size));
  }
  if (const auto size = integer_or("attention.value_length", a.head_size); size != a.head_size) {
    keys.refuse("attention.value_length", "the size of the keys, " + std::to_string(a.head_size), std::to_string(size));
  }
  if (const auto size = integer_or("rope.dimension_count", a.head_size); size != a.head_size) {
    keys.refuse("rope.dimension_count", "all dimensions of a head, " + std::to_string(a.head_size), std::to_string(size));
  }
  if (const auto experts = integer_or("expert_count", 0); experts != 0)
    keys.refuse("expert_count", "none", std::to_string(experts));
  for (const char* key : {"eos_token_id", "eot_token_id"}) {
    const auto id = static_cast<std::int32_t>(std::min<std::int64_t>(token_id(file, key), a.vocabulary));
    if (id >= 0 && std::find(a.eos_ids.begin(), a.eos_ids.end(), id) == a.eos_ids.end()) a.eos_ids.push_back(id);
  }
  a.bos_id = static_cast<std::int32_t>(std::clamp<std::int64_t>(token_id(file, "bos_token_id"), -1, a.vocabulary));
  try {
    a.validate();
    a.rope_scaling = scaling_of(file, keys, a);
    a.rope_scaling.validate();
  } catch (const ConfigError& error) {
    const std::string what = error.what();
    throw ConfigError(what.starts_with(file.where()) ? what : file.where() + ": " + what);
  }
  return a;
}

Parameters load_gguf(const GgufFile& file, at::ScalarType dtype) {
  const Architecture architecture = gguf_architecture(file);
  const ParameterLayout layout(architecture);
  std::set<std::string> others;
  for (const auto& [name, tensor] : file.tensors()) others.insert(name);
  others.erase(kRopeFactors);
  for (const ParameterSpec& spec : layout.tensors) {
    const std::string name = gguf_name(spec.name);
    const GgufTensor& tensor = tensor_of(file, name);
    if (tensor.shape != spec.shape) {
      throw ConfigError(file.where() + ": tensor \"" + name + "\": expected shape " + shape_text(spec.shape) + ", found " +
                        shape_text(tensor.shape));
    }
    others.erase(name);
  }
  if (!others.empty())
    throw ConfigError(file.where() + ": tensor \"" + *others.begin() + "\" is no part of a " + architecture.model_type + " model");
  Parameters parameters(architecture, dtype);
  for (const ParameterSpec& spec : layout.tensors) {
    const GgufTensor& tensor = tensor_of(file, gguf_name(spec.name));
    at::Tensor values = at::empty(spec.shape, at::kFloat);
    dequantize(tensor.type, tensor.bytes, {values.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.elements)});
    parameters[spec.name].copy_(in_hugging_face_order(values, spec, architecture));
  }
  return parameters;
}

}  // namespace troupe
