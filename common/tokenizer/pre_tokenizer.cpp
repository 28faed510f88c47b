#include "common/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <map>
#include <utility>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/tokenizer/byte_level.h"

namespace troupe {
namespace {

// openai/gpt-2, src/encoder.py
constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace

PreTokenizer PreTokenizer::from_json(const nlohmann::json& json, const std::string& where) {
  PreTokenizer pre_tokenizer;
  if (!json.is_null()) pre_tokenizer.add(json, where);
  return pre_tokenizer;
}

void PreTokenizer::add(const nlohmann::json& json, const std::string& where) {
  const auto type = json_get<std::string>(json, "type", where);
  if (type == "Sequence") {
    for (const auto& step : json_member(json, "pretokenizers", where)) add(step, where);
  } else if (type == "Split") {
    steps_.emplace_back(read_split(json, where));
  } else if (type == "ByteLevel") {
    steps_.emplace_back(ByteLevel{json_get<bool>(json, "add_prefix_space", where),
                                  json_get_or<bool>(json, "use_regex", true, where), Regex(kGpt2Pattern, where)});
  } else if (type == "Digits") {
    const bool individual = json_get_or<bool>(json, "individual_digits", false, where);
    steps_.emplace_back(
        Split{Regex("\\p{N}", where), individual ? Behaviour::kIsolated : Behaviour::kContiguous, false});
  } else {
    throw ConfigError(where + ": pre_tokenizer \"" + type +
                      "\" is not supported (Sequence, Split, ByteLevel and Digits are)");
  }
}

PreTokenizer::Split PreTokenizer::read_split(const nlohmann::json& json, const std::string& where) {
  static const std::map<std::string, Behaviour> kBehaviours = {{"Removed", Behaviour::kRemoved},
                                                               {"Isolated", Behaviour::kIsolated},
                                                               {"MergedWithPrevious", Behaviour::kMergedWithPrevious},
                                                               {"MergedWithNext", Behaviour::kMergedWithNext},
                                                               {"Contiguous", Behaviour::kContiguous}};
  const auto name = json_get<std::string>(json, "behavior", where);
  const auto behaviour = kBehaviours.find(name);
  if (behaviour == kBehaviours.end()) throw ConfigError(where + ": Split: behavior \"" + name + "\" is not known");
  const bool invert = json_get_or<bool>(json, "invert", false, where);
  const nlohmann::json& pattern = json_member(json, "pattern", where);
  if (pattern.contains("Regex")) {
    return {Regex(json_get<std::string>(pattern, "Regex", where), where), behaviour->second, invert};
  }
  return {Regex::literal(json_get<std::string>(pattern, "String", where), where), behaviour->second, invert};
}

std::vector<Regex::Piece> PreTokenizer::parts_of(std::string_view text, const Split& step) {
  std::vector<Regex::Piece> parts = step.pattern.split(text);
  for (auto& part : parts) part.match = part.match != step.invert;
  // The delimiter joins a neighbour only where that neighbour is not a delimiter itself; for MergedWithNext seen from
  // the end.
  const bool backwards = step.behaviour == Behaviour::kMergedWithNext;
  if (backwards) std::reverse(parts.begin(), parts.end());
  std::vector<Regex::Piece> joined;
  bool previous_match = false;
  for (const auto& part : parts) {
    bool join = false;
    if (step.behaviour == Behaviour::kContiguous) join = part.match == previous_match;
    if (step.behaviour == Behaviour::kMergedWithPrevious || backwards) join = part.match && !previous_match;
    previous_match = part.match;
    if (step.behaviour == Behaviour::kRemoved && part.match) continue;
    if (join && !joined.empty()) {
      joined.back().begin = std::min(joined.back().begin, part.begin);
      joined.back().end = std::max(joined.back().end, part.end);
    } else {
      joined.push_back(part);
    }
  }
  if (backwards) std::reverse(joined.begin(), joined.end());
  return joined;
}

void PreTokenizer::run(std::size_t step, std::string_view text, const Take& take) const {
  if (text.empty()) return;
  if (step == steps_.size()) return take(text);
  const auto* split = std::get_if<Split>(&steps_[step]);
  if (split == nullptr) return run_byte_level(step, text, take);
  if (split->behaviour == Behaviour::kIsolated) {  // matches and gaps alike are pieces, as they come
    split->pattern.split(text, [&](std::size_t begin, std::size_t end, bool) { run(step + 1, text.substr(begin, end - begin), take); });
    return;
  }
  for (const auto& part : parts_of(text, *split)) run(step + 1, text.substr(part.begin, part.end - part.begin), take);
}

void PreTokenizer::run_byte_level(std::size_t step, std::string_view text, const Take& take) const {
  const ByteLevel& byte_level = std::get<ByteLevel>(steps_[step]);
  std::string prefixed;
  if (byte_level.add_prefix_space && text.front() != ' ') {
    prefixed = " " + std::string(text);
    text = prefixed;
  }
  const auto hand_on = [&](std::string_view piece) {
    if (step + 1 == steps_.size()) return take(piece);
    run(step + 1, to_byte_level(piece), take);
  };
  if (!byte_level.use_regex) return hand_on(text);
  byte_level.pattern.split(text, [&](std::size_t begin, std::size_t end, bool) { hand_on(text.substr(begin, end - begin)); });
}

std::vector<std::string> PreTokenizer::operator()(std::string_view text) const {
  std::vector<std::string> pieces;
  for_each(text, [&](std::string_view piece) { pieces.push_back(ends_in_bytes() ? to_byte_level(piece) : std::string(piece)); });
  return pieces;
}

}  // namespace troupe
