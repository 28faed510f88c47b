#pragma once

#include <filesystem>

#include "common/model/parameters.h"

namespace troupe {

/// Loads the safetensors of a Hugging Face directory (one file, or shards by model.safetensors.index.json) as fp32 or
/// bf16. Knows tied embeddings under either name. @throws ConfigError naming file and tensor that is missing, extra or
/// misshapen, or that the folder holds a reward model.
Parameters load_parameters(const std::filesystem::path& folder, at::ScalarType dtype);

/// The same of a reward model, which is what transformers' AutoModelForSequenceClassification loads as one label.
Parameters load_reward_model(const std::filesystem::path& folder, at::ScalarType dtype);

/// Writes config.json, generation_config.json, model.safetensors (dtype of `parameters`) and copies the tokenizer's
/// files from `tokenizer_folder`, so that transformers loads `folder`. @throws TransportError, ConfigError.
void save_hugging_face(const Parameters& parameters, const std::filesystem::path& tokenizer_folder,
                       const std::filesystem::path& folder);

/// The same without a tokenizer.
void save_weights(const Parameters& parameters, const std::filesystem::path& folder);

}  // namespace troupe
