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

void PreTokenizer::split(std::string_view text, const Split& step, std::vector<std::string>& pieces) {
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
  for (const auto& piece : joined) pieces.emplace_back(text.substr(piece.begin, piece.end - piece.begin));
}

void PreTokenizer::byte_level(std::string text, const ByteLevel& step, std::vector<std::string>& pieces) {
  if (step.add_prefix_space && text.front() != ' ') text.insert(text.begin(), ' ');
  if (!step.use_regex) {
    pieces.push_back(to_byte_level(text));
    return;
  }
  for (const auto& piece : step.pattern.split(text)) {
    pieces.push_back(to_byte_level(std::string_view(text).substr(piece.begin, piece.end - piece.begin)));
  }
}

std::vector<std::string> PreTokenizer::operator()(std::string text) const {
  std::vector<std::string> pieces;
  if (text.empty()) return pieces;
  pieces.push_back(std::move(text));
  for (const Step& step : steps_) {
    std::vector<std::string> next;
    for (std::string& piece : pieces) {
      if (const auto* split_step = std::get_if<Split>(&step)) {
        split(piece, *split_step, next);
      } else {
        byte_level(std::move(piece), std::get<ByteLevel>(step), next);
      }
    }
    pieces = std::move(next);
  }
  return pieces;
}

}  // namespace troupe
