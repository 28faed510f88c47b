#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/tokenizer/growth.h"
#include "common/tokenizer/regex.h"

namespace troupe {

/// What a tokenizer.json's "normalizer" does to a piece of text before it is tokenized.
class Normalizer {
 public:
  /// From the value of "normalizer": null, Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD. @throws ConfigError naming
  /// `where`.
  static Normalizer from_json(const nlohmann::json& json, const std::string& where);

  /// `text` (well-formed UTF-8) normalized.
  std::string operator()(std::string text) const;

 private:
  struct Prepend {
    std::string prefix;
  };
  struct Replace {
    std::string pattern;
    std::string content;
  };
  struct ReplaceMatches {
    Regex pattern;
    std::string content;
  };
  enum class Form { kNfc, kNfd, kNfkc, kNfkd };

  void add(const nlohmann::json& json, const std::string& where);
  static std::string in_form(std::string text, Form form);

  std::vector<std::variant<Prepend, Replace, ReplaceMatches, Form>> steps_;
  Growth growth_;
};

/// `text` with every occurrence of `pattern` (not empty), from the left, replaced by `content`.
std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content);

/// "pattern" and "content" of a Replace normalizer or decoder. @throws ConfigError where the pattern is a regex or
/// empty.
std::pair<std::string, std::string> replace_arguments(const nlohmann::json& json, const std::string& where);

}  // namespace troupe
