#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "common/tokenizer/tokenizer.h"

namespace troupe {

std::string character_tokenizer_json() {
  nlohmann::json vocabulary = nlohmann::json::object();
  nlohmann::json added = nlohmann::json::array();
  std::int32_t next = 0;
  const auto add_token = [&](const std::string& content, bool special) {
    added.push_back({{"id", next},
                     {"content", content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", special}});
    vocabulary[content] = next++;
  };
  add_token("<|end|>", true);
  add_token("<unk>", true);
  for (const char* tag : {"<think>", "</think>", "<answer>", "</answer>"}) add_token(tag, false);
  vocabulary["\n"] = next++;
  for (char c = ' '; c <= '~'; ++c) vocabulary[std::string(1, c)] = next++;

  const nlohmann::json tokenizer = {{"version", "1.0"},
                                    {"truncation", nullptr},
                                    {"padding", nullptr},
                                    {"added_tokens", added},
                                    {"normalizer", nullptr},
                                    {"pre_tokenizer", nullptr},
                                    {"post_processor", nullptr},
                                    {"decoder", {{"type", "Fuse"}}},
                                    {"model",
                                     {{"type", "BPE"},
                                      {"dropout", nullptr},
                                      {"unk_token", "<unk>"},
                                      {"continuing_subword_prefix", nullptr},
                                      {"end_of_word_suffix", nullptr},
                                      {"fuse_unk", false},
                                      {"byte_fallback", false},
                                      {"ignore_merges", false},
                                      {"vocab", vocabulary},
                                      {"merges", nlohmann::json::array()}}}};
  return tokenizer.dump(1) + "\n";
}

}  // namespace troupe
