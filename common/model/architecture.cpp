#include "common/model/architecture.h"

#include <array>
#include <cmath>
#include <limits>

#include "common/base/error.h"
#include "common/base/strict_json.h"

namespace troupe {
namespace {

using nlohmann::json;

void refuse(const std::string& where, const std::string& key, const json& found, const std::string& expected) {
  throw ConfigError(where + ": " + key + ": expected " + expected + ", found " + found.dump());
}

/// The key, if it is there, must have one of the values that mean "nothing special".
void require_plain(const json& config, const char* key, const json& plain, const std::string& where) {
  const auto found = config.find(key);
  if (found != config.end() && !found->is_null() && *found != plain) {
    refuse(where, key, *found, plain.is_null() ? "it to be absent (this is not supported)" : plain.dump());
  }
}

// Up to these no sum of the products that make a model's size overflows.
constexpr std::int64_t kMost = std::int64_t{1} << 24, kMostLayers = 4096;

struct Family {
  const char* model_type;
  const char* prefix;  // of its classes in transformers
};
constexpr std::array kFamilies = {Family{"llama", "Llama"}, Family{"qwen2", "Qwen2"}, Family{"qwen3", "Qwen3"}};
constexpr const char* kFamilyNames = "\"llama\", \"qwen2\" or \"qwen3\"";

/// Null where it is not known.
const Family* family_of(const std::string& model_type) {
  for (const Family& family : kFamilies) {
    if (model_type == family.model_type) return &family;
  }
  return nullptr;
}

std::string class_of(const Family& family, bool scores) {
  return std::string(family.prefix) + (scores ? "ForSequenceClassification" : "ForCausalLM");
}

/// Sets model_type and scores.
void read_class(const json& config, const std::string& where, Architecture& a) {
  a.model_type = json_get<std::string>(config, "model_type", where);
  const Family* family = family_of(a.model_type);
  if (family == nullptr) refuse(where, "model_type", a.model_type, kFamilyNames);
  const auto architectures = config.find("architectures");
  if (architectures == config.end() || architectures->is_null()) return;
  const std::string generator = class_of(*family, false), scorer = class_of(*family, true);
  a.scores = *architectures == json::array({scorer});
  if (!a.scores && *architectures != json::array({generator})) {
    refuse(where, "architectures", *architectures, "[\"" + generator + "\"] or [\"" + scorer + "\"]");
  }
}

/// Sets rope_theta and rope_scaling. transformers 5 writes {"rope_parameters": {"rope_type", "rope_theta", …}}, older ones
/// rope_theta and rope_scaling; where both are there, rope_scaling counts alone.
void read_rope(const json& config, const std::string& where, Architecture& a) {
  a.rope_theta = json_get_or<double>(config, "rope_theta", a.rope_theta, where);
  require_plain(config, "partial_rotary_factor", 1.0, where);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto found = config.find(key);
    if (found == config.end() || found->is_null()) continue;
    if (!found->is_object()) refuse(where, key, *found, "an object");
    if (found->empty()) continue;
    const std::string inside = where + ": " + key;
    json rope = *found;
    if (config.contains("original_max_position_embeddings"))
      rope["original_max_position_embeddings"] = config["original_max_position_embeddings"];
    a.rope_scaling = RopeScaling::from_json(rope, static_cast<double>(a.max_positions), inside);
    a.rope_theta = json_get_or<double>(rope, "rope_theta", a.rope_theta, inside);
    require_plain(rope, "partial_rotary_factor", 1.0, inside);
    return;
  }
}

std::vector<std::int32_t> token_ids(const json& config, const char* key, const std::string& where) {
  std::vector<std::int32_t> ids;
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return ids;
  const json list = found->is_array() ? *found : json::array({*found});
  for (const auto& value : list) {
    const auto id = json_as<std::int64_t>(value, key, where);
    if (id < 0 || id > std::numeric_limits<std::int32_t>::max()) refuse(where, key, *found, "token ids");
    ids.push_back(static_cast<std::int32_t>(id));
  }
  return ids;
}

void require(bool condition, const std::string& field, const std::string& found, const std::string& expected) {
  if (!condition) throw ConfigError(field + ": expected " + expected + ", found " + found);
}

}  // namespace

void Architecture::validate() const {
  const auto in_range = [&](const char* field, std::int64_t value, std::int64_t most = kMost) {
    require(value >= 1 && value <= most, field, std::to_string(value), "1 to " + std::to_string(most));
  };
  require(family_of(model_type) != nullptr, "model_type", model_type, kFamilyNames);
  in_range("vocab_size", vocabulary);
  in_range("hidden_size", hidden);
  in_range("intermediate_size", intermediate);
  in_range("num_hidden_layers", layers, kMostLayers);
  in_range("num_attention_heads", heads);
  in_range("num_key_value_heads", kv_heads);
  in_range("head_dim", head_size);
  in_range("num_attention_heads * head_dim", heads * head_size);
  in_range("max_position_embeddings", max_positions);
  require(heads % kv_heads == 0, "num_key_value_heads", std::to_string(kv_heads),
          "a divisor of num_attention_heads, " + std::to_string(heads));
  require(head_size % 2 == 0, "head_dim", std::to_string(head_size), "an even number");
  require(std::isfinite(rope_theta) && rope_theta > 1, "rope_theta", std::to_string(rope_theta), "a number above 1");
  require(std::isfinite(rms_eps) && rms_eps > 0, "rms_norm_eps", std::to_string(rms_eps), "a number above 0");
  rope_scaling.validate();
  for (const auto id : eos_ids) {
    require(id >= 0 && id < vocabulary, "eos_token_id", std::to_string(id),
            "an id below vocab_size, " + std::to_string(vocabulary));
  }
  require(bos_id >= -1 && bos_id < vocabulary, "bos_token_id", std::to_string(bos_id),
          "an id below vocab_size, " + std::to_string(vocabulary));
}

Architecture read_architecture(const std::filesystem::path& folder) {
  const std::string where = (folder / "config.json").string();
  const json config = read_json_file(where);
  Architecture a;
  read_class(config, where, a);
  const auto integer = [&](const char* key) { return json_get<std::int64_t>(config, key, where); };
  a.vocabulary = integer("vocab_size");
  a.hidden = integer("hidden_size");
  a.intermediate = integer("intermediate_size");
  a.layers = integer("num_hidden_layers");
  a.heads = integer("num_attention_heads");
  if (a.heads < 1) refuse(where, "num_attention_heads", a.heads, "at least 1");
  a.kv_heads = json_get_or<std::int64_t>(config, "num_key_value_heads", a.heads, where);
  // Qwen 3's heads have a size of their own.
  a.head_size = json_get_or<std::int64_t>(config, "head_dim", a.model_type == "qwen3" ? 128 : a.hidden / a.heads, where);
  a.max_positions = integer("max_position_embeddings");
  read_rope(config, where, a);
  a.rms_eps = json_get_or<double>(config, "rms_norm_eps", 1e-6, where);
  a.tied_embeddings = json_get_or<bool>(config, "tie_word_embeddings", false, where);
  a.qkv_bias = a.model_type == "qwen2";
  a.qk_norm = a.model_type == "qwen3";
  require_plain(config, "hidden_act", "silu", where);
  require_plain(config, "attention_bias", false, where);
  require_plain(config, "mlp_bias", false, where);
  require_plain(config, "use_sliding_window", false, where);
  require_plain(config, "quantization_config", nullptr, where);
  const auto types = config.find("layer_types");
  if (types != config.end() && !types->is_null()) {
    for (const auto& type : *types) {
      if (type != "full_attention") refuse(where, "layer_types", *types, "\"full_attention\" only");
    }
  }
  a.eos_ids = token_ids(config, "eos_token_id", where);
  std::vector<std::int32_t> bos = token_ids(config, "bos_token_id", where);
  const std::filesystem::path generation = folder / "generation_config.json";
  if (std::filesystem::exists(generation)) {
    const json overrides = read_json_file(generation.string());
    const auto eos = token_ids(overrides, "eos_token_id", generation.string());
    if (!eos.empty()) a.eos_ids = eos;
    if (bos.empty()) bos = token_ids(overrides, "bos_token_id", generation.string());
  }
  if (!bos.empty()) a.bos_id = bos.front();
  try {
    a.validate();
  } catch (const ConfigError& error) {
    throw ConfigError(where + ": " + error.what());
  }
  return a;
}

json architecture_json(const Architecture& a) {
  json config = {{"architectures", {class_of(*family_of(a.model_type), a.scores)}},
                 {"model_type", a.model_type},
                 {"vocab_size", a.vocabulary},
                 {"hidden_size", a.hidden},
                 {"intermediate_size", a.intermediate},
                 {"num_hidden_layers", a.layers},
                 {"num_attention_heads", a.heads},
                 {"num_key_value_heads", a.kv_heads},
                 {"head_dim", a.head_size},
                 {"max_position_embeddings", a.max_positions},
                 {"rms_norm_eps", a.rms_eps},
                 {"tie_word_embeddings", a.tied_embeddings},
                 {"hidden_act", "silu"},
                 {"attention_dropout", 0.0},
                 {"initializer_range", 0.02},
                 {"use_cache", true},
                 // older transformers read rope_theta, from 5 on rope_parameters
                 {"rope_theta", a.rope_theta},
                 {"rope_parameters", a.rope_scaling.to_json(a.rope_theta)}};
  if (a.rope_scaling.kind != RopeScaling::Kind::kNone) config["rope_scaling"] = config["rope_parameters"];
  if (a.model_type != "qwen2") config["attention_bias"] = false;
  if (a.model_type == "llama") {
    config["mlp_bias"] = false;
  } else {
    config["use_sliding_window"] = false;
  }
  if (a.scores) {
    config["id2label"] = {{"0", "LABEL_0"}};
    config["label2id"] = {{"LABEL_0", 0}};
  }
  config["bos_token_id"] = a.bos_id < 0 ? json() : json(a.bos_id);
  config["eos_token_id"] = a.eos_ids.empty()       ? json()
                           : a.eos_ids.size() == 1 ? json(a.eos_ids.front())
                                                   : json(a.eos_ids);
  return config;
}

}  // namespace troupe
