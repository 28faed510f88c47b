#include "common/gguf/gguf_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/base/utf8.h"
#include "common/tokenizer/byte_level_json.h"

namespace troupe {
namespace {

using nlohmann::json;

const std::string kPrefix = "tokenizer.ggml.";
constexpr const char* kSpace = "\xE2\x96\x81";  // U+2581
constexpr std::size_t kLongestMerged = 256;     // bytes of a token that merges make; SentencePiece's are 16 characters at most

enum TokenType : std::int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<std::int64_t> types;
};

const json& list_of(const GgufFile& file, const std::string& key) {
  const json& list = json_member(file.metadata(), kPrefix + key, file.where());
  if (!list.is_array())
    throw ConfigError(file.where() + ": key \"" + kPrefix + key + "\": expected a list, found " + list.type_name());
  return list;
}

void require_size(const GgufFile& file, const std::string& key, const json& list, std::size_t size) {
  if (list.size() == size) return;
  throw ConfigError(file.where() + ": key \"" + kPrefix + key + "\": expected as many elements as there are tokens, " +
                    std::to_string(size) + ", found " + std::to_string(list.size()));
}

Vocabulary vocabulary_of(const GgufFile& file) {
  Vocabulary vocabulary;
  for (const json& token : list_of(file, "tokens"))
    vocabulary.tokens.push_back(json_as<std::string>(token, kPrefix + "tokens", file.where()));
  vocabulary.types.assign(vocabulary.tokens.size(), kNormal);
  if (!file.metadata().contains(kPrefix + "token_type")) return vocabulary;
  const json& types = list_of(file, "token_type");
  require_size(file, "token_type", types, vocabulary.tokens.size());
  for (std::size_t i = 0; i < types.size(); ++i)
    vocabulary.types[i] = json_as<std::int64_t>(types[i], kPrefix + "token_type", file.where());
  return vocabulary;
}

/// token: id, without those that only fill the embedding up.
json ids_of(const GgufFile& file, const Vocabulary& vocabulary) {
  json ids = json::object();
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    if (vocabulary.types[i] == kUnused) continue;
    const auto [entry, is_new] = ids.get_ref<json::object_t&>().emplace(vocabulary.tokens[i], i);
    if (!is_new)
      throw ConfigError(file.where() + ": key \"" + kPrefix + "tokens\": token \"" + vocabulary.tokens[i] + "\" stands twice");
  }
  return ids;
}

/// Tokens that are found in the text itself.
std::vector<AddedTokenText> added_of(const Vocabulary& vocabulary) {
  std::vector<AddedTokenText> added;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const bool special = vocabulary.types[i] == kControl || vocabulary.types[i] == kUnknown;
    if ((special || vocabulary.types[i] == kUserDefined) && !vocabulary.tokens[i].empty()) {
      added.push_back({static_cast<std::int64_t>(i), vocabulary.tokens[i], special});
    }
  }
  return added;
}

/// The token whose id stands under `key`; nothing where there is none.
std::vector<AddedTokenText> token_of(const GgufFile& file, const Vocabulary& vocabulary, const std::string& key) {
  const auto found = file.metadata().find(kPrefix + key);
  if (found == file.metadata().end()) return {};
  const auto id = json_as<std::int64_t>(*found, kPrefix + key, file.where());
  if (id < 0 || id >= static_cast<std::int64_t>(vocabulary.tokens.size())) {
    throw ConfigError(file.where() + ": key \"" + kPrefix + key + "\": expected an id below the number of tokens, " +
                      std::to_string(vocabulary.tokens.size()) + ", found " + std::to_string(id));
  }
  return {{id, vocabulary.tokens[static_cast<std::size_t>(id)], true}};
}

/// What is put before each text; `otherwise` says whether BOS is where the file does not.
std::vector<AddedTokenText> before_of(const GgufFile& file, const Vocabulary& vocabulary, bool otherwise) {
  if (json_get_or<bool>(file.metadata(), kPrefix + "add_eos_token", false, file.where())) {
    throw ConfigError(file.where() + ": key \"" + kPrefix +
                      "add_eos_token\": expected false (an end after each prompt is not supported)");
  }
  if (!json_get_or<bool>(file.metadata(), kPrefix + "add_bos_token", otherwise, file.where())) return {};
  auto bos = token_of(file, vocabulary, "bos_token_id");
  if (bos.empty() && file.metadata().contains(kPrefix + "add_bos_token")) {
    throw ConfigError(file.where() + ": key \"" + kPrefix + "bos_token_id\" is missing, although add_bos_token is true");
  }
  return bos;
}

/// llama.cpp's names of pre-tokenizers (src/llama-vocab.cpp).
Splitting splitting_of(const GgufFile& file) {
  static const std::map<std::string, Splitting> kNames = {
      {"default", Splitting::kGpt2},           {"gpt-2", Splitting::kGpt2},
      {"smollm", Splitting::kSmolLm},          {"qwen2", Splitting::kQwen2},
      {"deepseek-r1-qwen", Splitting::kQwen2}, {"llama-bpe", Splitting::kLlama3},
      {"llama3", Splitting::kLlama3},          {"llama-v3", Splitting::kLlama3}};
  const auto name = json_get_or<std::string>(file.metadata(), kPrefix + "pre", "default", file.where());
  const auto found = kNames.find(name);
  if (found != kNames.end()) return found->second;
  std::string known;
  for (const auto& [text, splitting] : kNames) known += (known.empty() ? "" : ", ") + text;
  throw ConfigError(file.where() + ": key \"" + kPrefix + "pre\": expected one of " + known + ", found \"" + name + "\"");
}

json byte_level_json(const GgufFile& file, const Vocabulary& vocabulary) {
  ByteLevelModel model;
  model.splitting = splitting_of(file);
  model.ignore_merges = model.splitting == Splitting::kLlama3;
  model.vocabulary = ids_of(file, vocabulary);
  model.merges = list_of(file, "merges");
  model.added = added_of(vocabulary);
  model.before = before_of(file, vocabulary, model.splitting == Splitting::kLlama3);
  return byte_level_tokenizer_json(model);
}

/// The merges that scores amount to: any two tokens that make a third, those of a higher score first; among the ways to make one token
/// and among equal scores as transformers orders them (generate_merges), so that both tokenize alike.
json merges_by_score(const GgufFile& file, const Vocabulary& vocabulary, const json& ids) {
  struct Merge {
    double score;
    std::size_t left_characters, right_characters, order;
    std::string left, right;
  };
  const json& scores = list_of(file, "scores");
  require_size(file, "scores", scores, vocabulary.tokens.size());
  std::vector<Merge> merges;
  const auto id_of = [&](const std::string& token) { return ids.find(token); };
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string& token = vocabulary.tokens[i];
    if (vocabulary.types[i] != kNormal) continue;
    if (token.size() > kLongestMerged) {
      throw ConfigError(file.where() + ": key \"" + kPrefix + "tokens\": a token of " + std::to_string(token.size()) +
                        " bytes, expected " + std::to_string(kLongestMerged) + " at most");
    }
    const auto score = json_as<double>(scores[i], kPrefix + "scores", file.where());
    if (!std::isfinite(score))
      throw ConfigError(file.where() + ": key \"" + kPrefix + "scores\": the score of token \"" + token + "\" is not finite");
    std::vector<std::tuple<std::size_t, std::size_t, std::size_t, std::size_t>>
        ways;  // left id, right id, bytes and characters of the left
    std::size_t characters = 0;
    for (std::size_t at = 0; at < token.size(); at += code_point_at(token, at).bytes, ++characters) {
      if (at == 0) continue;
      const auto left = id_of(token.substr(0, at)), right = id_of(token.substr(at));
      if (left != ids.end() && right != ids.end()) ways.emplace_back(*left, *right, at, characters);
    }
    std::sort(ways.begin(), ways.end());
    for (const auto& [left, right, bytes, left_characters] : ways) {
      merges.push_back(
          {score, left_characters, characters - left_characters, merges.size(), token.substr(0, bytes), token.substr(bytes)});
    }
  }
  std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return std::tuple(-a.score, b.left_characters, b.right_characters, a.order) <
           std::tuple(-b.score, a.left_characters, a.right_characters, b.order);
  });
  json list = json::array();
  for (const Merge& merge : merges) list.push_back(json::array({merge.left, merge.right}));
  return list;
}

/// As the tokenizer.json of Llama 2.
json sentence_piece_json(const GgufFile& file, const Vocabulary& vocabulary) {
  const bool prefix = json_get_or<bool>(file.metadata(), kPrefix + "add_space_prefix", true, file.where());
  const json ids = ids_of(file, vocabulary);
  const auto unknown = token_of(file, vocabulary, "unknown_token_id");
  json normalizers = json::array(), decoders = json::array();
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}});
  decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens_json(added_of(vocabulary))},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
          {"pre_tokenizer", nullptr},
          {"post_processor", prefix_post_processor(before_of(file, vocabulary, true))},
          {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", unknown.empty() ? json() : json(unknown.front().content)},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"ignore_merges", false},
            {"vocab", ids},
            {"merges", merges_by_score(file, vocabulary, ids)}}}};
}

json tokenizer_config_of(const GgufFile& file, const Vocabulary& vocabulary) {
  json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  const std::pair<const char*, const char*> kinds[] = {{"bos_token", "bos_token_id"},
                                                       {"eos_token", "eos_token_id"},
                                                       {"unk_token", "unknown_token_id"},
                                                       {"pad_token", "padding_token_id"}};
  for (const auto& [name, key] : kinds) {
    for (const AddedTokenText& token : token_of(file, vocabulary, key)) config[name] = token.content;
  }
  const auto chat = json_get_or<std::string>(file.metadata(), "tokenizer.chat_template", "", file.where());
  if (!chat.empty()) config["chat_template"] = chat;
  return config;
}

}  // namespace

GgufTokenizerFiles gguf_tokenizer(const GgufFile& file) {
  const auto model = json_get<std::string>(file.metadata(), kPrefix + "model", file.where());
  if (model != "gpt2" && model != "llama") {
    throw ConfigError(file.where() + ": key \"" + kPrefix + "model\": expected gpt2 or llama, found \"" + model + "\"");
  }
  const Vocabulary vocabulary = vocabulary_of(file);
  return {model == "gpt2" ? byte_level_json(file, vocabulary) : sentence_piece_json(file, vocabulary),
          tokenizer_config_of(file, vocabulary)};
}

}  // namespace troupe
