#include "common/model/checkpoint_io.h"

#include <ATen/Functions.h>

#include <array>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/strict_json.h"
#include "common/model/safetensors.h"
#include "common/tokenizer/vocabulary_files.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

struct StoredTensor {
  at::Tensor tensor;
  std::string file;
};
using StoredTensors = std::map<std::string, StoredTensor>;

void add_file(StoredTensors& stored, const fs::path& path) {
  for (auto& [name, tensor] : read_safetensors(path)) {
    const auto [entry, is_new] = stored.emplace(name, StoredTensor{tensor, path.string()});
    if (!is_new) throw ConfigError(path.string() + ": tensor \"" + name + "\" is also in " + entry->second.file);
  }
}

/// The shards that model.safetensors.index.json names; every tensor must be where it says.
StoredTensors read_shards(const fs::path& folder, const fs::path& index) {
  const nlohmann::json json = read_json_file(index.string());
  const nlohmann::json& places = json_member(json, "weight_map", index.string());
  if (!places.is_object()) throw ConfigError(index.string() + ": weight_map: expected an object");
  std::set<std::string> shards;
  for (const auto& [name, file] : places.items()) {
    const auto shard = json_as<std::string>(file, name, index.string());
    if (fs::path(shard).filename() != shard)
      throw ConfigError(index.string() + ": \"" + shard + "\" is not a file name");
    shards.insert(shard);
  }
  StoredTensors stored;
  for (const auto& shard : shards) add_file(stored, folder / shard);
  for (const auto& [name, file] : places.items()) {
    const auto found = stored.find(name);
    const std::string expected = (folder / file.get<std::string>()).string();
    if (found == stored.end() || found->second.file != expected) {
      throw ConfigError(expected + ": tensor \"" + name + "\" is missing, although " + index.string() +
                        " says that it is there");
    }
  }
  return stored;
}

StoredTensors read_tensors(const fs::path& folder) {
  const fs::path single = folder / "model.safetensors";
  const fs::path index = folder / "model.safetensors.index.json";
  StoredTensors stored;
  if (fs::exists(single)) {
    add_file(stored, single);
    return stored;
  }
  if (fs::exists(index)) return read_shards(folder, index);
  for (const char* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (!fs::exists(folder / pickle)) continue;
    throw ConfigError((folder / pickle).string() +
                      ": pickled weights can run code and are not read; convert them to safetensors once: python -c "
                      "\"from transformers import AutoModelForCausalLM as M; M.from_pretrained('" +
                      folder.string() + "', dtype='auto').save_pretrained('OUT', safe_serialization=True)\"");
  }
  throw ConfigError(folder.string() + ": neither model.safetensors nor model.safetensors.index.json is there");
}

bool is_weight_dtype(at::ScalarType type) { return type == at::kFloat || type == at::kBFloat16 || type == at::kHalf; }

bool are_equal(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && is_weight_dtype(a.scalar_type()) && at::equal(a, b);
}

/// Tied embeddings may be stored under either name, or under both with equal values.
void untie(StoredTensors& stored, const fs::path& folder) {
  const auto head = stored.find(kHead);
  if (head == stored.end()) return;
  const auto embedding = stored.find(kEmbedding);
  if (embedding == stored.end()) {
    stored.emplace(kEmbedding, head->second);
  } else if (!are_equal(embedding->second.tensor, head->second.tensor)) {
    throw ConfigError(folder.string() + ": config.json ties the embeddings, but " + kHead + " and " + kEmbedding +
                      " differ");
  }
  stored.erase(kHead);
}

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

void check_tensor(const StoredTensor& stored, const ParameterSpec& spec) {
  const at::Tensor& source = stored.tensor;
  if (source.sizes() != at::IntArrayRef(spec.shape)) {
    throw ConfigError(stored.file + ": tensor \"" + spec.name + "\": expected shape " + shape_text(spec.shape) +
                      ", found " + shape_text(source.sizes()));
  }
  const auto type = source.scalar_type();
  if (!is_weight_dtype(type)) {
    throw ConfigError(stored.file + ": tensor \"" + spec.name + "\": expected dtype F32, BF16 or F16, found " +
                      c10::toString(type));
  }
}

/// A buffer that old versions of transformers stored beside the parameters; it follows from the config.
bool is_derived(const std::string& name) { return name.ends_with(".rotary_emb.inv_freq"); }

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw TransportError("cannot create the folder " + folder.string() + ": " + error.message());
}

/// Older forms of a tokenizer become a tokenizer.json.
void copy_tokenizer(const fs::path& from, const fs::path& to) {
  if (!fs::exists(tokenizer_file_of(from))) throw ConfigError((from / "tokenizer.json").string() + " is missing");
  std::error_code ignored;
  if (fs::equivalent(from, to, ignored)) return;
  write_file_atomically(to / "tokenizer.json", tokenizer_json_of(from));
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                           "chat_template.jinja", "vocab.json", "merges.txt", "tokenizer.model"}) {
    if (fs::exists(from / name)) write_file_atomically(to / name, read_file(from / name));
  }
}

/// Without a tokenizer_config.json transformers would guess a tokenizer class by the model's type and rebuild the
/// tokenizer by that class's rules; this one takes tokenizer.json as it stands.
void write_tokenizer_config(const fs::path& folder, const Architecture& architecture) {
  const fs::path path = folder / "tokenizer_config.json";
  if (fs::exists(path)) return;
  nlohmann::json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                           {"clean_up_tokenization_spaces", false},
                           {"model_max_length", architecture.max_positions}};
  const nlohmann::json tokenizer = read_json_file((folder / "tokenizer.json").string());
  const auto added = tokenizer.find("added_tokens");
  if (added != tokenizer.end() && !architecture.eos_ids.empty()) {
    for (const auto& token : *added) {
      if (token.value("id", -1) == architecture.eos_ids.front()) config["eos_token"] = token.value("content", "");
      if (token.value("id", -1) == architecture.bos_id) config["bos_token"] = token.value("content", "");
    }
  }
  write_file_atomically(path, config.dump(2) + "\n");
}

Parameters load(const Architecture& architecture, const fs::path& folder, at::ScalarType dtype) {
  StoredTensors stored = read_tensors(folder);
  if (architecture.tied_embeddings && !architecture.scores) untie(stored, folder);
  const ParameterLayout layout(architecture);
  StoredTensors others = stored;
  // Everything is checked before memory is set aside: a config.json may claim any size.
  for (const ParameterSpec& spec : layout.tensors) {
    const auto found = stored.find(spec.name);
    if (found == stored.end()) {
      throw ConfigError(folder.string() + ": tensor \"" + spec.name + "\" of shape " + shape_text(spec.shape) +
                        " is missing");
    }
    check_tensor(found->second, spec);
    others.erase(spec.name);
  }
  for (const auto& [name, tensor] : others) {
    if (!is_derived(name)) {
      throw ConfigError(tensor.file + ": tensor \"" + name + "\" of shape " + shape_text(tensor.tensor.sizes()) +
                        " is no part of the model that config.json describes");
    }
  }
  Parameters parameters(architecture, dtype);
  for (const ParameterSpec& spec : layout.tensors) parameters[spec.name].copy_(stored.at(spec.name).tensor);
  return parameters;
}

}  // namespace

Parameters load_parameters(const fs::path& folder, at::ScalarType dtype) {
  const Architecture architecture = read_architecture(folder);
  if (architecture.scores) throw ConfigError(folder.string() + ": expected a language model, found a reward model");
  return load(architecture, folder, dtype);
}

Parameters load_reward_model(const fs::path& folder, at::ScalarType dtype) {
  const Architecture architecture = read_architecture(folder);
  if (!architecture.scores) throw ConfigError(folder.string() + ": expected a reward model, found a language model; `troupe reward-model` makes one of it");
  return load(architecture, folder, dtype);
}

void save_hugging_face(const Parameters& parameters, const fs::path& tokenizer_folder, const fs::path& folder) {
  make_folder(folder);
  copy_tokenizer(tokenizer_folder, folder);
  write_tokenizer_config(folder, parameters.architecture());
  save_weights(parameters, folder);
}

void save_weights(const Parameters& parameters, const fs::path& folder) {
  make_folder(folder);
  const Architecture& architecture = parameters.architecture();
  nlohmann::json config = architecture_json(architecture);
  const std::string dtype = parameters.flat().scalar_type() == at::kFloat ? "float32" : "bfloat16";
  config["dtype"] = dtype;
  config["torch_dtype"] = dtype;
  write_file_atomically(folder / "config.json", config.dump(2) + "\n");
  const nlohmann::json generation = {
      {"_from_model_config", true}, {"bos_token_id", config["bos_token_id"]}, {"eos_token_id", config["eos_token_id"]}};
  write_file_atomically(folder / "generation_config.json", generation.dump(2) + "\n");

  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const ParameterSpec& spec : parameters.layout().tensors)
    tensors.emplace_back(spec.name, parameters[spec.name].cpu());
  write_safetensors(folder / "model.safetensors", tensors);
}

}  // namespace troupe
