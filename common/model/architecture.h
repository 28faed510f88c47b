#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/model/rope_scaling.h"

namespace troupe {

/// The numbers of a decoder-only transformer of the Llama family, as a Hugging Face config.json gives them: a language model, or a
/// reward model (…ForSequenceClassification of one label). What the families
/// differ in follows from `model_type`: "llama", "qwen2" (Qwen 2.5 too) or "qwen3".
struct Architecture {
  std::string model_type = "llama";
  std::int64_t vocabulary = 0;
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_size = 0;
  std::int64_t max_positions = 0;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  double rms_eps = 1e-6;
  bool tied_embeddings = true;
  bool scores = false;                // a reward model: score.weight [1, hidden] stands in the head's place
  bool qkv_bias = false;              // Qwen2
  bool qk_norm = false;               // Qwen3: each head of q and k is normed before it is turned
  std::vector<std::int32_t> eos_ids;  // generation stops at any of them
  std::int32_t bos_id = -1;
  bool operator==(const Architecture&) const = default;
  /// @throws ConfigError naming the field.
  void validate() const;
};

/// Reads `folder`/config.json (and generation_config.json for its end-of-text ids). @throws ConfigError naming the file
/// and the key that is missing, wrong or of an unsupported architecture.
Architecture read_architecture(const std::filesystem::path& folder);

/// The config.json that transformers loads for this architecture.
nlohmann::json architecture_json(const Architecture& architecture);

}  // namespace troupe
