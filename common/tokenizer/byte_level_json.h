#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace troupe {

/// How a family of byte-level BPE models cuts text into pieces before it merges.
enum class Splitting {
  kGpt2,    // openai/gpt-2, src/encoder.py
  kSmolLm,  // GPT-2's, each digit apart
  kQwen2,   // in Unicode normal form C, by a pattern
  kLlama3   // by a pattern: digits in threes
};

/// A token that is found in the text itself.
struct AddedTokenText {
  std::int64_t id = 0;
  std::string content;
  bool special = false;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;  // looked for in the normalized text
};

/// A byte-level BPE model as older files have it.
struct ByteLevelModel {
  nlohmann::json vocabulary = nlohmann::json::object();  // token: id
  nlohmann::json merges = nlohmann::json::array();       // "left right", in order
  Splitting splitting = Splitting::kGpt2;
  bool ignore_merges = false;  // a piece that is a token is not taken apart
  std::vector<AddedTokenText> added;
  std::vector<AddedTokenText> before;  // what is put before each text (BOS)
};

/// The tokenizer.json of such a model, as Hugging Face tokenizers writes it.
nlohmann::json byte_level_tokenizer_json(const ByteLevelModel& model);

/// Its "post_processor" that puts these tokens before each text; null where there are none.
nlohmann::json prefix_post_processor(const std::vector<AddedTokenText>& before);

/// Its "added_tokens".
nlohmann::json added_tokens_json(const std::vector<AddedTokenText>& added);

}  // namespace troupe
