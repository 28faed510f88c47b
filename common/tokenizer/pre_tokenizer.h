#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/tokenizer/regex.h"

namespace troupe {

/// Cuts normalized text into the pieces that the model tokenizes one by one, as a tokenizer.json's "pre_tokenizer"
/// says.
class PreTokenizer {
 public:
  /// From the value of "pre_tokenizer": null, Sequence, Split, ByteLevel, Digits. @throws ConfigError naming `where`.
  static PreTokenizer from_json(const nlohmann::json& json, const std::string& where);

  /// The pieces of `text` in order, none of them empty.
  std::vector<std::string> operator()(std::string text) const;

 private:
  enum class Behaviour { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Split {
    Regex pattern;
    Behaviour behaviour;
    bool invert;  // the pattern is what stands between the delimiters
  };
  struct ByteLevel {
    bool add_prefix_space;
    bool use_regex;
    Regex pattern;  // GPT-2's
  };
  using Step = std::variant<Split, ByteLevel>;

  void add(const nlohmann::json& json, const std::string& where);
  static Split read_split(const nlohmann::json& json, const std::string& where);
  static void split(std::string_view text, const Split& step, std::vector<std::string>& pieces);
  static void byte_level(std::string text, const ByteLevel& step, std::vector<std::string>& pieces);

  std::vector<Step> steps_;
};

}  // namespace troupe
