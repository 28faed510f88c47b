#include "common/reward_model/scored_text.h"

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/strict_json.h"
#include "common/base/text.h"
#include "common/model/architecture.h"

namespace troupe {
namespace {

constexpr const char* kFormFile = "scored_text.json";

nlohmann::ordered_json message(const char* role, const nlohmann::ordered_json& content) {
  return {{"role", role}, {"content", content}};
}

bool has_question(const Row& row, const std::string& question_key) {
  if (!question_key.empty()) return true;
  for (const char* key : {"question", "problem", "prompt", "messages"}) {
    if (row.json.contains(key)) return true;
  }
  return false;
}

}  // namespace

void write_text_form(const TextForm& form, const std::filesystem::path& folder) {
  const nlohmann::ordered_json json = {{"prompt", form.prompt}, {"question_key", form.question_key}, {"date", form.date}};
  write_file_atomically(folder / kFormFile, json.dump(2) + "\n");
}

TextForm read_text_form(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kFormFile;
  if (!std::filesystem::exists(path)) return {};
  const nlohmann::json json = read_json_file(path.string());
  const auto text = [&](const char* key) { return json_get<std::string>(json, key, path.string()); };
  return {text("prompt"), text("question_key"), text("date")};
}

ScoredText::ScoredText(TextForm form, const Tokenizer& tokenizer, const std::filesystem::path& model_folder)
    : form_(std::move(form)), tokenizer_(tokenizer) {
  const std::vector<std::int32_t> end_ids = read_architecture(model_folder).eos_ids;
  if (!end_ids.empty()) end_id_ = end_ids.front();
  if (form_.prompt != "auto") {
    text_template_ = form_.prompt == "model" ? ChatTemplate::from_model_folder(model_folder) : ChatTemplate::named(form_.prompt);
    conversation_template_ = text_template_;
    return;
  }
  text_template_ = ChatTemplate::named("plain");
  try {
    conversation_template_ = ChatTemplate::from_model_folder(model_folder);
  } catch (const ConfigError& error) {
    why_none_ = error.what();  // it matters where there is such a row
  }
}

std::vector<std::int32_t> ScoredText::ids(const Row& row, const nlohmann::ordered_json& response) const {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  bool is_conversation = response.is_array();
  if (has_question(row, form_.question_key)) {
    const auto asked = messages_of(row, form_.question_key);
    messages = asked ? *asked : nlohmann::ordered_json::array({message("user", question_of(row, form_.question_key))});
    is_conversation = is_conversation || asked.has_value();
  }
  if (response.is_array()) {
    messages.insert(messages.end(), response.begin(), response.end());
  } else {
    messages.push_back(message("assistant", response));
  }
  try {
    const std::optional<ChatTemplate>& chosen = is_conversation ? conversation_template_ : text_template_;
    if (!chosen) throw ConfigError(why_none_ + " (data.prompt)");
    ChatOptions options;
    options.date = form_.date;
    const std::string text = chosen->render(messages, options);
    std::vector<std::int32_t> ids = tokenizer_.encode(text, !chosen->holds_special_tokens());
    if (!chosen->holds_special_tokens() && end_id_ >= 0) ids.push_back(end_id_);
    return ids;
  } catch (const ConfigError& error) {
    throw ConfigError(row.where + ": " + error.what());
  }
}

std::string_view summary_of(std::string_view response) {
  constexpr std::string_view kEnd = "</think>";
  const std::size_t end = response.rfind(kEnd);
  if (end != std::string_view::npos) return trim(response.substr(end + kEnd.size()));
  return response.find("<think>") == std::string_view::npos ? response : std::string_view();
}

}  // namespace troupe
