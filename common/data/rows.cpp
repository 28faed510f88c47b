#include "common/data/rows.h"

#include <algorithm>
#include <utility>

#include "common/base/error.h"
#include "common/base/text.h"

namespace troupe {
namespace {

/// Under which key the row's question stands.
std::string question_key_of(const Row& row, const std::string& question_key) {
  if (!question_key.empty()) return question_key;
  for (const char* key : {"question", "problem", "prompt", "messages"}) {
    if (row.json.contains(key)) return key;
  }
  throw ConfigError(row.where + ": expected the key question, problem, prompt or messages, found " + keys_of(row.json));
}

std::string last_user_message(const Row& row, const std::string& key) {
  const nlohmann::json& messages = row.json[key];
  if (!messages.is_array()) {
    throw ConfigError(row.where + ": \"" + key + "\": expected an array, found " + messages.type_name());
  }
  for (auto message = messages.rbegin(); message != messages.rend(); ++message) {
    if (message->is_object() && message->value("role", nlohmann::json()) == "user") {
      return text_under({*message, row.where + ": " + key}, "content");
    }
  }
  throw ConfigError(row.where + ": \"" + key + "\": there is none with role \"user\"");
}

/// GSM8K's answers end in "#### 1,234": what stands behind the last mark, without its commas.
std::string final_answer(const std::string& answer) {
  constexpr std::string_view kMark = "####";
  const std::size_t mark = answer.rfind(kMark);
  if (mark == std::string::npos) return answer;
  std::string text(trim(std::string_view(answer).substr(mark + kMark.size())));
  text.erase(std::remove(text.begin(), text.end(), ','), text.end());
  return text;
}

}  // namespace

std::string text_under(const Row& row, const std::string& key) {
  const auto found = row.json.find(key);
  if (found == row.json.end()) {
    throw ConfigError(row.where + ": expected the key \"" + key + "\", found " + keys_of(row.json));
  }
  if (!found->is_string()) {
    throw ConfigError(row.where + ": \"" + key + "\": expected a string, found " + found->type_name());
  }
  return found->get<std::string>();
}

std::string keys_of(const nlohmann::json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys.empty() ? "none" : join(keys, ", ");
}

std::string question_of(const Row& row, const std::string& question_key) {
  const std::string key = question_key_of(row, question_key);
  const bool is_conversation = key == "messages" || row.json.value(key, nlohmann::json()).is_array();
  return is_conversation ? last_user_message(row, key) : text_under(row, key);
}

std::string gold_of(const nlohmann::json& row) {
  for (const char* key : {"gold", "answer"}) {
    const auto found = row.find(key);
    if (found == row.end() || found->is_null()) continue;
    if (found->is_string()) return final_answer(found->get<std::string>());
    if (found->is_number()) return found->dump();
    throw ConfigError(std::string("row: \"") + key + "\": expected a string or a number, found " + found->type_name());
  }
  return "";
}

std::optional<nlohmann::ordered_json> messages_of(const Row& row, const std::string& question_key) {
  const std::string key = question_key_of(row, question_key);
  if (key != "messages" && !row.json.value(key, nlohmann::json()).is_array()) return std::nullopt;
  return in_line_order(row, key);
}

nlohmann::ordered_json in_line_order(const Row& row, const std::string& key) {
  if (row.text.empty()) return row.json.value(key, nlohmann::json());
  return nlohmann::ordered_json::parse(row.text).value(key, nlohmann::ordered_json());
}

std::pair<std::string, std::string> sft_pair_of(const Row& row) {
  return {text_under(row, "prompt"), text_under(row, "completion")};
}

}  // namespace troupe
