#include "common/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <map>
#include <utility>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/base/utf8.h"
#include "common/tokenizer/byte_level.h"
#include "common/tokenizer/normalizer.h"

namespace troupe {
namespace {

// openai/gpt-2, src/encoder.py
constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// \w of Rust's regex, which Whitespace is written in: Alphabetic, M, Nd, Pc and Join_Control.
const std::string kRustWord =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{200C}\x{200D}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";
// With the digits of Unicode 17, which the standard library of Rust knows.
constexpr const char* kDigit = R"([\p{N}\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6}])";
// Hugging Face's list is Unicode 8's: punctuation that came later is cut off here and not there.
constexpr const char* kPunctuation = R"([\p{P}!-/:-@\[-`{-~])";

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
    const auto is_byte_level = [](const Step& step) { return std::holds_alternative<ByteLevel>(step); };
    if (std::any_of(steps_.begin(), steps_.end(), is_byte_level)) throw ConfigError(where + ": pre_tokenizer: ByteLevel stands twice");
    steps_.emplace_back(ByteLevel{json_get<bool>(json, "add_prefix_space", where),
                                  json_get_or<bool>(json, "use_regex", true, where), Regex(kGpt2Pattern, where)});
  } else if (type == "Metaspace") {
    steps_.emplace_back(read_metaspace(json, where + ": Metaspace"));
  } else if (type == "Digits") {
    const bool individual = json_get_or<bool>(json, "individual_digits", false, where);
    steps_.emplace_back(
        Split{Regex(kDigit, where), individual ? Behaviour::kIsolated : Behaviour::kContiguous, false});
  } else if (type == "Punctuation") {
    steps_.emplace_back(Split{Regex(kPunctuation, where), read_behaviour(json, "Isolated", where), false});
  } else if (type == "Whitespace") {
    steps_.emplace_back(Split{Regex("[" + kRustWord + "]+|[^" + kRustWord + "\\s]+", where), Behaviour::kRemoved, true});
  } else if (type == "WhitespaceSplit") {
    steps_.emplace_back(Split{Regex("\\s", where), Behaviour::kRemoved, false});
  } else {
    throw ConfigError(where + ": pre_tokenizer \"" + type +
                      "\" is not supported (Sequence, Split, ByteLevel, Metaspace, Digits, Punctuation, Whitespace and "
                      "WhitespaceSplit are)");
  }
}

PreTokenizer::Behaviour PreTokenizer::read_behaviour(const nlohmann::json& json, const char* otherwise, const std::string& where) {
  static const std::map<std::string, Behaviour> kBehaviours = {{"Removed", Behaviour::kRemoved},
                                                               {"Isolated", Behaviour::kIsolated},
                                                               {"MergedWithPrevious", Behaviour::kMergedWithPrevious},
                                                               {"MergedWithNext", Behaviour::kMergedWithNext},
                                                               {"Contiguous", Behaviour::kContiguous}};
  const auto name = json_get_or<std::string>(json, "behavior", otherwise, where);
  const auto behaviour = kBehaviours.find(name);
  if (behaviour == kBehaviours.end()) throw ConfigError(where + ": behavior \"" + name + "\" is not known");
  return behaviour->second;
}

PreTokenizer::Split PreTokenizer::read_split(const nlohmann::json& json, const std::string& where) {
  json_member(json, "behavior", where);
  const Behaviour behaviour = read_behaviour(json, "", where + ": Split");
  const bool invert = json_get_or<bool>(json, "invert", false, where);
  const nlohmann::json& pattern = json_member(json, "pattern", where);
  if (pattern.contains("Regex")) return {Regex(json_get<std::string>(pattern, "Regex", where), where), behaviour, invert};
  return {Regex::literal(json_get<std::string>(pattern, "String", where), where), behaviour, invert};
}

PreTokenizer::Metaspace PreTokenizer::read_metaspace(const nlohmann::json& json, const std::string& where) {
  auto replacement = json_get<std::string>(json, "replacement", where);
  if (replacement.empty() || code_point_at(replacement, 0).bytes != replacement.size()) {
    throw ConfigError(where + ": replacement: expected one character, found \"" + replacement + "\"");
  }
  static const std::map<std::string, Prefix> kSchemes = {
      {"always", Prefix::kAlways}, {"first", Prefix::kFirst}, {"never", Prefix::kNever}};
  const auto name = json_get_or<std::string>(json, "prepend_scheme", "always", where);
  const auto scheme = kSchemes.find(name);
  if (scheme == kSchemes.end()) throw ConfigError(where + ": prepend_scheme: expected always, first or never, found \"" + name + "\"");
  if (!json_get_or<bool>(json, "add_prefix_space", true, where) && scheme->second != Prefix::kNever) {
    throw ConfigError(where + ": add_prefix_space is false, but prepend_scheme is " + name);
  }
  Regex pattern = Regex::literal(replacement, where);
  return {std::move(replacement), scheme->second, json_get_or<bool>(json, "split", true, where), std::move(pattern)};
}

std::vector<Regex::Piece> PreTokenizer::parts_of(std::string_view text, const Regex& pattern, Behaviour behaviour, bool invert) {
  std::vector<Regex::Piece> parts = pattern.split(text);
  for (auto& part : parts) part.match = part.match != invert;
  // The delimiter joins a neighbour only where that neighbour is not a delimiter itself; for MergedWithNext seen from
  // the end.
  const bool backwards = behaviour == Behaviour::kMergedWithNext;
  if (backwards) std::reverse(parts.begin(), parts.end());
  std::vector<Regex::Piece> joined;
  bool previous_match = false;
  for (const auto& part : parts) {
    bool join = false;
    if (behaviour == Behaviour::kContiguous) join = part.match == previous_match;
    if (behaviour == Behaviour::kMergedWithPrevious || backwards) join = part.match && !previous_match;
    previous_match = part.match;
    if (behaviour == Behaviour::kRemoved && part.match) continue;
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

void PreTokenizer::run(std::size_t step, std::string_view text, bool at_start, const Take& take) const {
  if (text.empty()) return;
  if (step == steps_.size()) return take(text);
  if (std::holds_alternative<Split>(steps_[step])) return run_split(step, text, at_start, take);
  if (std::holds_alternative<Metaspace>(steps_[step])) return run_metaspace(step, text, at_start, take);
  run_byte_level(step, text, at_start, take);
}

void PreTokenizer::run_split(std::size_t step, std::string_view text, bool at_start, const Take& take) const {
  const Split& split = std::get<Split>(steps_[step]);
  const auto hand_on = [&](std::size_t begin, std::size_t end) {
    run(step + 1, text.substr(begin, end - begin), at_start && begin == 0, take);
  };
  if (split.behaviour == Behaviour::kIsolated) {  // matches and gaps alike are pieces, as they come
    split.pattern.split(text, [&](std::size_t begin, std::size_t end, bool) { hand_on(begin, end); });
    return;
  }
  for (const auto& part : parts_of(text, split.pattern, split.behaviour, split.invert)) hand_on(part.begin, part.end);
}

void PreTokenizer::run_byte_level(std::size_t step, std::string_view text, bool at_start, const Take& take) const {
  const ByteLevel& byte_level = std::get<ByteLevel>(steps_[step]);
  std::string prefixed;
  if (byte_level.add_prefix_space && text.front() != ' ') {
    prefixed = " " + std::string(text);
    text = prefixed;
  }
  const auto hand_on = [&](std::size_t begin, std::size_t end) {
    const std::string_view piece = text.substr(begin, end - begin);
    if (step + 1 == steps_.size()) return take(piece);
    run(step + 1, to_byte_level(piece), at_start && begin == 0, take);
  };
  if (!byte_level.use_regex) return hand_on(0, text.size());
  byte_level.pattern.split(text, [&](std::size_t begin, std::size_t end, bool) { hand_on(begin, end); });
}

void PreTokenizer::run_metaspace(std::size_t step, std::string_view text, bool at_start, const Take& take) const {
  const Metaspace& metaspace = std::get<Metaspace>(steps_[step]);
  std::string spaced = replace_all(text, " ", metaspace.replacement);
  const bool prefixed = metaspace.prefix == Prefix::kAlways || (metaspace.prefix == Prefix::kFirst && at_start);
  if (prefixed && !spaced.starts_with(metaspace.replacement)) spaced.insert(0, metaspace.replacement);
  const auto hand_on = [&](std::size_t begin, std::size_t end) {
    run(step + 1, std::string_view(spaced).substr(begin, end - begin), at_start && begin == 0, take);
  };
  if (!metaspace.split) return hand_on(0, spaced.size());
  for (const auto& part : parts_of(spaced, metaspace.pattern, Behaviour::kMergedWithNext, false)) hand_on(part.begin, part.end);
}

std::vector<std::string> PreTokenizer::operator()(std::string_view text) const {
  std::vector<std::string> pieces;
  for_each(text, true, [&](std::string_view piece) { pieces.push_back(ends_in_bytes() ? to_byte_level(piece) : std::string(piece)); });
  return pieces;
}

}  // namespace troupe
