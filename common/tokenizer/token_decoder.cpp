#include "common/tokenizer/token_decoder.h"

#include <optional>
#include <string_view>
#include <utility>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/base/text.h"
#include "common/base/utf8.h"
#include "common/tokenizer/byte_level.h"
#include "common/tokenizer/normalizer.h"

namespace troupe {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/// The byte that a token "<0x41>" stands for.
std::optional<char> byte_of(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return std::nullopt;
  const int high = hex_digit(token[3]);
  const int low = hex_digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(static_cast<unsigned char>(high * 16 + low));
}

std::size_t count_at(const nlohmann::json& json, const char* key, const std::string& where) {
  const auto value = json_get<std::int64_t>(json, key, where);
  if (value < 0) throw ConfigError(where + ": Strip: " + key + " is negative");
  return static_cast<std::size_t>(value);
}

}  // namespace

TokenDecoder TokenDecoder::from_json(const nlohmann::json& json, const std::string& where) {
  TokenDecoder decoder;
  if (!json.is_null()) decoder.add(json, where);
  return decoder;
}

void TokenDecoder::add(const nlohmann::json& json, const std::string& where) {
  const auto type = json_get<std::string>(json, "type", where);
  if (type == "Sequence") {
    for (const auto& step : json_member(json, "decoders", where)) add(step, where);
  } else if (type == "Replace") {
    auto [pattern, content] = replace_arguments(json, where);
    growth_.add(content.size(), pattern.size(), where + ": decoder");
    steps_.emplace_back(Replace{std::move(pattern), std::move(content)});
  } else if (type == "ByteFallback") {
    steps_.emplace_back(ByteFallback{});
  } else if (type == "Fuse") {
    steps_.emplace_back(Fuse{});
  } else if (type == "Strip") {
    auto content = json_get<std::string>(json, "content", where);
    if (content.empty() || code_point_at(content, 0).bytes != content.size()) {
      throw ConfigError(where + ": Strip: content: expected one character, found \"" + content + "\"");
    }
    steps_.emplace_back(Strip{std::move(content), count_at(json, "start", where), count_at(json, "stop", where)});
  } else if (type == "ByteLevel") {
    steps_.emplace_back(ByteLevel{});
  } else if (type == "Metaspace") {
    const bool prefixed = json_get_or<std::string>(json, "prepend_scheme", "always", where) != "never";
    auto replacement = json_get<std::string>(json, "replacement", where);
    if (replacement.empty()) throw ConfigError(where + ": Metaspace: replacement is empty");
    steps_.emplace_back(Metaspace{std::move(replacement), prefixed});
  } else {
    throw ConfigError(where + ": decoder \"" + type +
                      "\" is not supported (Sequence, Replace, ByteFallback, Fuse, Strip, ByteLevel and Metaspace are)");
  }
}

std::vector<std::string> TokenDecoder::apply(const Replace& step, std::vector<std::string> tokens) {
  for (auto& token : tokens) token = replace_all(token, step.pattern, step.content);
  return tokens;
}

/// A run of byte tokens becomes its text, or one U+FFFD a byte where the run as a whole is not UTF-8.
std::vector<std::string> TokenDecoder::apply(const ByteFallback&, std::vector<std::string> tokens) {
  std::vector<std::string> result;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (valid_utf8_prefix(bytes) == bytes.size()) {
      result.push_back(bytes);
    } else {
      result.insert(result.end(), bytes.size(), std::string(kReplacement));
    }
    bytes.clear();
  };
  for (auto& token : tokens) {
    if (const auto byte = byte_of(token)) {
      bytes.push_back(*byte);
    } else {
      flush();
      result.push_back(std::move(token));
    }
  }
  flush();
  return result;
}

std::vector<std::string> TokenDecoder::apply(const Fuse&, std::vector<std::string> tokens) {
  return {join(tokens, "")};
}

std::vector<std::string> TokenDecoder::apply(const Strip& step, std::vector<std::string> tokens) {
  const std::size_t size = step.content.size();
  for (auto& token : tokens) {
    std::size_t begin = 0;
    for (std::size_t i = 0; i < step.start && token.compare(begin, size, step.content) == 0; ++i) begin += size;
    token.erase(0, begin);
    for (std::size_t i = 0; i < step.stop && token.size() >= size; ++i) {
      if (token.compare(token.size() - size, size, step.content) != 0) break;
      token.resize(token.size() - size);
    }
  }
  return tokens;
}

std::vector<std::string> TokenDecoder::apply(const ByteLevel&, std::vector<std::string> tokens) {
  std::string bytes;
  for (const auto& token : tokens) append_byte_level(bytes, token);
  return {utf8_or_replacement(bytes)};
}

std::vector<std::string> TokenDecoder::apply(const Metaspace& step, std::vector<std::string> tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = replace_all(tokens[i], step.replacement, i == 0 && step.prefixed ? "" : " ");
  }
  return tokens;
}

std::string TokenDecoder::operator()(std::vector<std::string> tokens) const {
  for (const auto& step : steps_) {
    tokens = std::visit([&](const auto& typed) { return apply(typed, std::move(tokens)); }, step);
  }
  return join(tokens, steps_.empty() ? " " : "");
}

}  // namespace troupe
