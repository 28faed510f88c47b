#pragma once

#include <cstddef>
#include <functional>
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
  /// From the value of "pre_tokenizer": null, Sequence, Split, ByteLevel, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit.
  /// @throws ConfigError naming `where`.
  static PreTokenizer from_json(const nlohmann::json& json, const std::string& where);

  /// The pieces of `text` in order, none of them empty.
  std::vector<std::string> operator()(std::string_view text) const;

  using Take = std::function<void(std::string_view piece)>;
  /// The same one by one, but as bytes where `ends_in_bytes`: each is still to become characters by to_byte_level. So who knows
  /// a piece already is spared the translation. `at_start` says that nothing stands before `text`, not even an added token.
  void for_each(std::string_view text, bool at_start, const Take& take) const { run(0, text, at_start, take); }
  bool ends_in_bytes() const { return !steps_.empty() && std::holds_alternative<ByteLevel>(steps_.back()); }

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
  enum class Prefix { kAlways, kFirst, kNever };
  struct Metaspace {
    std::string replacement;  // of each space
    Prefix prefix;            // where it is put before a piece that does not begin with it
    bool split;               // before each of them
    Regex pattern;            // the replacement
  };
  using Step = std::variant<Split, ByteLevel, Metaspace>;

  void add(const nlohmann::json& json, const std::string& where);
  static Behaviour read_behaviour(const nlohmann::json& json, const char* otherwise, const std::string& where);
  static Split read_split(const nlohmann::json& json, const std::string& where);
  static Metaspace read_metaspace(const nlohmann::json& json, const std::string& where);
  static std::vector<Regex::Piece> parts_of(std::string_view text, const Regex& pattern, Behaviour behaviour, bool invert);
  /// Steps `step` and later on a piece of the steps before; `at_start` as in for_each.
  void run(std::size_t step, std::string_view text, bool at_start, const Take& take) const;
  void run_split(std::size_t step, std::string_view text, bool at_start, const Take& take) const;
  void run_byte_level(std::size_t step, std::string_view text, bool at_start, const Take& take) const;
  void run_metaspace(std::size_t step, std::string_view text, bool at_start, const Take& take) const;

  std::vector<Step> steps_;
};

}  // namespace troupe
