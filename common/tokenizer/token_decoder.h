#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "common/tokenizer/growth.h"

namespace troupe {

/// Turns tokens back into text, as a tokenizer.json's "decoder" says.
class TokenDecoder {
 public:
  /// From the value of "decoder": null, Sequence, Replace of a string, ByteFallback, Fuse, Strip, ByteLevel, Metaspace.
  /// @throws ConfigError naming `where`.
  static TokenDecoder from_json(const nlohmann::json& json, const std::string& where);

  /// The text of the tokens; without any decoder they are joined by spaces, as in Hugging Face's.
  std::string operator()(std::vector<std::string> tokens) const;

 private:
  struct Replace {
    std::string pattern;
    std::string content;
  };
  struct ByteFallback {};
  struct Fuse {};
  struct Strip {
    std::string content;  // one character
    std::size_t start;    // at most so many are cut from each token's start
    std::size_t stop;
  };
  struct ByteLevel {};
  struct Metaspace {
    std::string replacement;  // of a space
    bool prefixed;            // the first token's are dropped
  };

  void add(const nlohmann::json& json, const std::string& where);
  static std::vector<std::string> apply(const Replace& step, std::vector<std::string> tokens);
  static std::vector<std::string> apply(const ByteFallback& step, std::vector<std::string> tokens);
  static std::vector<std::string> apply(const Fuse& step, std::vector<std::string> tokens);
  static std::vector<std::string> apply(const Strip& step, std::vector<std::string> tokens);
  static std::vector<std::string> apply(const ByteLevel& step, std::vector<std::string> tokens);
  static std::vector<std::string> apply(const Metaspace& step, std::vector<std::string> tokens);

  std::vector<std::variant<Replace, ByteFallback, Fuse, Strip, ByteLevel, Metaspace>> steps_;
  Growth growth_;
};

}  // namespace troupe
