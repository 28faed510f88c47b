#include "common/tokenizer/vocabulary_files.h"

#include <array>
#include <charconv>
#include <map>
#include <string_view>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/strict_json.h"
#include "common/base/utf8.h"
#include "common/tokenizer/byte_level_json.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// An empty object where the file is not there.
json optional_json(const fs::path& path) {
  if (!fs::exists(path)) return json::object();
  json value = read_json_file(path.string());
  if (!value.is_object()) throw ConfigError(path.string() + ": expected an object, found " + value.type_name());
  return value;
}

/// transformers' "Qwen2TokenizerFast" or "GPT2Tokenizer"; without a class, what config.json's model has.
Splitting splitting_of(const fs::path& folder, const json& config) {
  const fs::path path = folder / "tokenizer_config.json";
  const auto name = json_get_or<std::string>(config, "tokenizer_class", "", path.string());
  if (name.starts_with("Qwen2Tokenizer")) return Splitting::kQwen2;
  if (name.starts_with("GPT2Tokenizer")) return Splitting::kGpt2;
  if (!name.empty()) {
    throw ConfigError(path.string() +
                      ": tokenizer_class: expected Qwen2Tokenizer or GPT2Tokenizer for vocab.json and merges.txt, found \"" + name +
                      "\"; a tokenizer.json would be read as it stands");
  }
  const fs::path model = folder / "config.json";
  const auto type = json_get_or<std::string>(optional_json(model), "model_type", "", model.string());
  return type.starts_with("qwen") ? Splitting::kQwen2 : Splitting::kGpt2;
}

json read_merges(const fs::path& path) {
  const std::string text = read_file(path);
  if (valid_utf8_prefix(text) != text.size()) {
    throw ConfigError(path.string() + ": not UTF-8: ill-formed byte at offset " + std::to_string(valid_utf8_prefix(text)));
  }
  json merges = json::array();
  std::size_t begin = 0;
  for (std::size_t number = 1; begin < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
    const std::size_t space = line.find(' ');
    if (space == 0 || space == line.size() - 1 || space == std::string_view::npos ||
        line.find(' ', space + 1) != std::string_view::npos) {
      throw ConfigError(path.string() + ": line " + std::to_string(number) +
                        ": expected two tokens with a space between, found \"" + std::string(line.substr(0, 100)) + "\"");
    }
    merges.push_back(std::string(line));
  }
  return merges;
}

std::int64_t id_of(const std::string& text, const std::string& where) {
  std::int64_t id = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0) {
    throw ConfigError(where + ": expected token ids as keys, found \"" + text + "\"");
  }
  return id;
}

/// A special token in a tokenizer_config.json: its text, or an object with it; empty where there is none.
std::string special_text(const json& config, const char* key, const std::string& where) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return "";
  return found->is_object() ? json_get<std::string>(*found, "content", where + ": " + key)
                            : json_as<std::string>(*found, key, where);
}

constexpr std::array kSpecialKeys = {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"};

/// By content: added_tokens_decoder has the last word over added_tokens.json; tokens of the vocabulary that are named as special ones
/// are found in texts too.
std::map<std::string, AddedTokenText> added_tokens(const fs::path& folder, const json& config, const json& vocabulary) {
  std::map<std::string, AddedTokenText> added;
  const fs::path plain = folder / "added_tokens.json", where = folder / "tokenizer_config.json";
  const json listed = optional_json(plain);
  for (const auto& [content, id] : listed.items()) {
    added[content] = {json_as<std::int64_t>(id, content, plain.string()), content, false};
  }
  const json decoder = config.value("added_tokens_decoder", json::object());
  if (!decoder.is_object())
    throw ConfigError(where.string() + ": added_tokens_decoder: expected an object, found " + decoder.type_name());
  for (const auto& [id, entry] : decoder.items()) {
    const std::string here = where.string() + ": added_tokens_decoder";
    const auto content = json_get<std::string>(entry, "content", here);
    const auto flag = [&here, &token = entry](const char* key) { return json_get_or<bool>(token, key, false, here); };
    added[content] = {id_of(id, here), content,        flag("special"),   flag("single_word"),
                      flag("lstrip"),  flag("rstrip"), flag("normalized")};
  }
  std::vector<std::string> special = {"<|endoftext|>"};  // the default of both classes
  for (const char* key : kSpecialKeys) special.push_back(special_text(config, key, where.string()));
  for (const std::string& content : special) {
    if (const auto known = added.find(content); known != added.end()) {
      known->second.special = true;
    } else if (vocabulary.contains(content)) {
      added[content] = {json_as<std::int64_t>(vocabulary[content], content, (folder / "vocab.json").string()), content, true};
    }
  }
  return added;
}

}  // namespace

fs::path tokenizer_file_of(const fs::path& folder) {
  const bool older = !fs::exists(folder / "tokenizer.json") && fs::exists(folder / "vocab.json");
  return folder / (older ? "vocab.json" : "tokenizer.json");
}

std::string tokenizer_json_of(const fs::path& folder) {
  const fs::path file = tokenizer_file_of(folder);
  if (file.filename() != "vocab.json") return read_file(file);
  const fs::path where = folder / "tokenizer_config.json";
  const json config = optional_json(where);
  ByteLevelModel model;
  model.vocabulary = read_json_file(file.string());
  if (!model.vocabulary.is_object())
    throw ConfigError(file.string() + ": expected an object, found " + model.vocabulary.type_name());
  model.merges = read_merges(folder / "merges.txt");
  model.splitting = splitting_of(folder, config);
  const auto added = added_tokens(folder, config, model.vocabulary);
  for (const auto& [content, token] : added) model.added.push_back(token);
  if (json_get_or<bool>(config, "add_bos_token", false, where.string())) {
    const auto bos = added.find(special_text(config, "bos_token", where.string()));
    if (bos == added.end()) throw ConfigError(where.string() + ": add_bos_token: the bos_token is no token of " + file.string());
    model.before.push_back(bos->second);
  }
  return byte_level_tokenizer_json(model).dump();
}

}  // namespace troupe
