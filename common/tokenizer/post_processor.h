#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace troupe {

/// The special tokens that a tokenizer.json's "post_processor" puts around the ids of one text.
class PostProcessor {
 public:
  /// From the value of "post_processor": null, Sequence, TemplateProcessing (its "single"), ByteLevel (which changes no
  /// ids). @throws ConfigError naming `where`.
  static PostProcessor from_json(const nlohmann::json& json, const std::string& where);

  std::vector<std::int32_t> operator()(std::vector<std::int32_t> ids) const;

 private:
  void add(const nlohmann::json& json, const std::string& where);
  void add_template(const nlohmann::json& json, const std::string& where);

  std::vector<std::int32_t> before_;
  std::vector<std::int32_t> after_;
};

}  // namespace troupe
