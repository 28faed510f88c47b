#include "common/tokenizer/post_processor.h"

#include <limits>

#include "common/base/error.h"
#include "common/base/strict_json.h"

namespace troupe {
namespace {

/// The ids of the special token `name` in a TemplateProcessing.
std::vector<std::int32_t> special_ids(const nlohmann::json& json, const std::string& name, const std::string& where) {
  const nlohmann::json& token =
      json_member(json_member(json, "special_tokens", where), name, where + ": special_tokens");
  std::vector<std::int32_t> ids;
  for (const auto& value : json_member(token, "ids", where)) {
    const auto id = json_as<std::int64_t>(value, "ids", where);
    if (id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
      throw ConfigError(where + ": special token \"" + name + "\" has id " + std::to_string(id));
    }
    ids.push_back(static_cast<std::int32_t>(id));
  }
  return ids;
}

}  // namespace

PostProcessor PostProcessor::from_json(const nlohmann::json& json, const std::string& where) {
  PostProcessor processor;
  if (!json.is_null()) processor.add(json, where);
  return processor;
}

void PostProcessor::add(const nlohmann::json& json, const std::string& where) {
  const auto type = json_get<std::string>(json, "type", where);
  if (type == "Sequence") {
    for (const auto& step : json_member(json, "processors", where)) add(step, where);
  } else if (type == "TemplateProcessing") {
    add_template(json, where + ": TemplateProcessing");
  } else if (type != "ByteLevel") {
    throw ConfigError(where + ": post_processor \"" + type +
                      "\" is not supported (Sequence, TemplateProcessing and ByteLevel are)");
  }
}

void PostProcessor::add_template(const nlohmann::json& json, const std::string& where) {
  std::vector<std::int32_t> before;
  std::vector<std::int32_t> after;
  bool seen_text = false;
  for (const auto& piece : json_member(json, "single", where)) {
    if (piece.contains("Sequence")) {
      const auto id = json_get<std::string>(piece["Sequence"], "id", where);
      if (id != "A" || seen_text)
        throw ConfigError(where + ": single: expected the sequence A once, found " + piece.dump());
      seen_text = true;
    } else {
      const auto name = json_get<std::string>(json_member(piece, "SpecialToken", where), "id", where);
      const auto ids = special_ids(json, name, where);
      auto& side = seen_text ? after : before;
      side.insert(side.end(), ids.begin(), ids.end());
    }
  }
  if (!seen_text) throw ConfigError(where + ": single: the sequence A is missing");
  before_.insert(before_.begin(), before.begin(), before.end());  // a later processor puts its own outside
  after_.insert(after_.end(), after.begin(), after.end());
}

std::vector<std::int32_t> PostProcessor::operator()(std::vector<std::int32_t> ids) const {
  ids.insert(ids.begin(), before_.begin(), before_.end());
  ids.insert(ids.end(), after_.begin(), after_.end());
  return ids;
}

}  // namespace troupe
