#pragma once

#include <nlohmann/json.hpp>

#include "common/gguf/gguf_file.h"

namespace troupe {

/// The two files of a Hugging Face directory that a GGUF file's tokenizer and chat template become.
struct GgufTokenizerFiles {
  nlohmann::json tokenizer;         // tokenizer.json
  nlohmann::json tokenizer_config;  // tokenizer_config.json, the chat template in it
};

/// Of a byte-level BPE ("gpt2": SmolLM, Qwen, Llama 3) or SentencePiece ("llama") tokenizer. @throws ConfigError naming the key that is
/// missing, wrong or not supported.
GgufTokenizerFiles gguf_tokenizer(const GgufFile& file);

}  // namespace troupe
