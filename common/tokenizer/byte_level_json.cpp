#include "common/tokenizer/byte_level_json.h"

#include <algorithm>
#include <utility>

namespace troupe {
namespace {

using nlohmann::json;

// Of the tokenizer.json of Qwen/Qwen2.5-0.5B and meta-llama/Llama-3.2-1B.
constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

json sequence_of(json first, json second) {
  return {{"type", "Sequence"}, {"pretokenizers", json::array({std::move(first), std::move(second)})}};
}

json pre_tokenizer(Splitting splitting) {
  if (splitting == Splitting::kGpt2) return byte_level(true);
  if (splitting == Splitting::kSmolLm) return sequence_of({{"type", "Digits"}, {"individual_digits", true}}, byte_level(true));
  const char* pattern = splitting == Splitting::kQwen2 ? kQwen2Pattern : kLlama3Pattern;
  const json split = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  return sequence_of(split, byte_level(false));
}

}  // namespace

json prefix_post_processor(const std::vector<AddedTokenText>& before) {
  if (before.empty()) return nullptr;
  json single = json::array(), pair = json::array(), special = json::object();
  for (const AddedTokenText& token : before) {
    single.push_back({{"SpecialToken", {{"id", token.content}, {"type_id", 0}}}});
    special[token.content] = {{"id", token.content}, {"ids", json::array({token.id})}, {"tokens", json::array({token.content})}};
  }
  pair = single;
  for (json* pieces : {&single, &pair}) pieces->push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

json added_tokens_json(const std::vector<AddedTokenText>& added) {
  std::vector<AddedTokenText> sorted = added;
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  json list = json::array();
  for (const AddedTokenText& token : sorted) {
    list.push_back({{"id", token.id},
                    {"content", token.content},
                    {"single_word", token.single_word},
                    {"lstrip", token.lstrip},
                    {"rstrip", token.rstrip},
                    {"normalized", token.normalized},
                    {"special", token.special}});
  }
  return list;
}

json byte_level_tokenizer_json(const ByteLevelModel& model) {
  const json normalizer = model.splitting == Splitting::kQwen2 ? json{{"type", "NFC"}} : json();
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens_json(model.added)},
          {"normalizer", normalizer},
          {"pre_tokenizer", pre_tokenizer(model.splitting)},
          {"post_processor", prefix_post_processor(model.before)},
          {"decoder", byte_level(true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", model.ignore_merges},
            {"vocab", model.vocabulary},
            {"merges", model.merges}}}};
}

}  // namespace troupe
