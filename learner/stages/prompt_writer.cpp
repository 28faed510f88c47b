#include "learner/stages/prompt_writer.h"

#include <algorithm>

#include "common/base/error.h"
#include "common/chat/assistant_turns.h"
#include "common/model/architecture.h"

namespace troupe {
namespace {

nlohmann::ordered_json asked(const std::string& question) {
  return nlohmann::ordered_json::array({{{"role", "user"}, {"content", question}}});
}

/// The ids of `chat` piece by piece, the assistant's turns apart from what stands between them: what is trained is encoded as what
/// the model would write.
struct Pieces {
  std::vector<std::int32_t> ids;
  std::vector<char> trained;

  void add(const std::vector<std::int32_t>& more, bool is_trained) {
    ids.insert(ids.end(), more.begin(), more.end());
    trained.resize(ids.size(), is_trained ? 1 : 0);
  }
};

Pieces pieces_of(const RenderedChat& chat, bool holds_special_tokens, const Tokenizer& tokenizer, std::int32_t end_id) {
  Pieces pieces;
  const std::string_view text = chat.text;
  std::size_t at = 0;
  bool is_front = !holds_special_tokens;  // where the tokenizer adds its own
  for (const ByteRange& turn : chat.assistant) {
    pieces.add(tokenizer.encode(text.substr(at, turn.begin - at), is_front), false);
    pieces.add(tokenizer.encode(text.substr(turn.begin, turn.end - turn.begin), false), true);
    if (!holds_special_tokens && end_id >= 0) pieces.add({end_id}, true);
    is_front = false;
    at = turn.end;
  }
  if (at < text.size() || is_front) pieces.add(tokenizer.encode(text.substr(at), is_front), false);
  return pieces;
}

/// The assistant's message under `key` of a preference row.
nlohmann::ordered_json answer_under(const Row& row, const std::string& key) {
  nlohmann::ordered_json answer = in_line_order(row, key);
  if (!row.json.contains(key) || answer.is_string()) return {{"role", "assistant"}, {"content", text_under(row, key)}};
  if (answer.is_array() && answer.size() == 1) answer = nlohmann::ordered_json(answer[0]);
  const auto is = [&](const char* name) { return answer.is_object() && answer.contains(name) && answer[name].is_string(); };
  if (is("role") && is("content") && answer["role"] == "assistant") return answer;
  throw ConfigError(row.where + ": \"" + key + "\": expected a text or one message of the assistant, found " +
                    in_line_order(row, key).dump().substr(0, 80));
}

}  // namespace

PromptWriter::PromptWriter(DataConfig data, const Tokenizer& tokenizer, const std::filesystem::path& model_folder)
    : data_(std::move(data)), tokenizer_(tokenizer) {
  const std::vector<std::int32_t> end_ids = read_architecture(model_folder).eos_ids;
  if (!end_ids.empty()) end_id_ = end_ids.front();
  const std::string& name = data_.prompt;
  if (name == "auto") {
    text_template_ = ChatTemplate::named("plain");
    try {
      conversation_template_ = ChatTemplate::from_model_folder(model_folder);
    } catch (const ConfigError& error) {
      why_none_ = error.what();  // it matters where there is such a row
    }
    return;
  }
  text_template_ = name == "model" ? ChatTemplate::from_model_folder(model_folder) : ChatTemplate::named(name);
  conversation_template_ = text_template_;
}

const ChatTemplate& PromptWriter::template_of(bool is_conversation) const {
  if (!is_conversation) return *text_template_;
  if (!conversation_template_) throw ConfigError(why_none_ + " (data.prompt)");
  return *conversation_template_;
}

ChatOptions PromptWriter::options_of(const Row& row) const {
  ChatOptions options;
  options.tools = in_line_order(row, "tools");
  options.date = data_.date;
  return options;
}

std::vector<std::int32_t> PromptWriter::prompt_of(const Row& row, const nlohmann::ordered_json& messages, bool is_conversation) const {
  const ChatTemplate& chat_template = template_of(is_conversation);
  ChatOptions options = options_of(row);
  options.add_generation_prompt = true;
  const RenderedChat chat = chat_template.render_marked(messages, options);
  if (chat_template.holds_special_tokens()) return tokenizer_.encode(chat.text, false);
  return pieces_of(chat, false, tokenizer_, end_id_).ids;
}

std::vector<std::int32_t> PromptWriter::prompt_ids(const Row& row) const {
  const auto messages = messages_of(row, data_.question_key);
  const nlohmann::ordered_json conversation = messages ? *messages : asked(question_of(row, data_.question_key));
  try {
    const bool is_answered = conversation.is_array() && !conversation.empty() && conversation.back().is_object() &&
                             conversation.back().value("role", nlohmann::ordered_json()) == "assistant";
    if (is_answered) throw ConfigError("messages: the last one is the assistant's, expected the user's: there is nothing to answer");
    return prompt_of(row, conversation, messages.has_value());
  } catch (const ConfigError& error) {
    throw ConfigError(row.where + ": " + error.what());
  }
}

SftExample PromptWriter::example(const Row& row) const {
  const bool is_conversation = row.json.contains("messages") && !row.json.contains("completion");
  try {
    if (is_conversation) return conversation_example(row, in_line_order(row, "messages"), false);
  } catch (const ConfigError& error) {
    throw ConfigError(row.where + ": " + error.what());
  }
  const auto [prompt, completion] = sft_pair_of(row);
  return text_example(row, prompt, completion);
}

std::vector<SftExample> PromptWriter::pair(const Row& row) const {
  const auto messages = messages_of(row, data_.question_key);
  std::vector<SftExample> both;
  for (const char* key : {"chosen", "rejected"}) {
    const nlohmann::ordered_json answer = answer_under(row, key);
    if (!messages) {
      both.push_back(text_example(row, question_of(row, data_.question_key), answer["content"]));
      continue;
    }
    try {
      nlohmann::ordered_json conversation = *messages;
      conversation.push_back(answer);
      both.push_back(conversation_example(row, conversation, true));
    } catch (const ConfigError& error) {
      throw ConfigError(row.where + ": " + error.what());
    }
  }
  return both;
}

SftExample PromptWriter::text_example(const Row& row, const std::string& prompt, const std::string& completion) const {
  try {
    SftExample example{prompt_of(row, asked(prompt), false), tokenizer_.encode(completion, false)};
    if (end_id_ >= 0) example.completion.push_back(end_id_);
    if (example.completion.empty()) throw ConfigError("the completion is empty, and the model has no end-of-text token to learn");
    return example;
  } catch (const ConfigError& error) {
    throw ConfigError(row.where + ": " + error.what());
  }
}

SftExample PromptWriter::conversation_example(const Row& row, const nlohmann::ordered_json& messages, bool last_turn_alone) const {
  const ChatTemplate& chat_template = template_of(true);
  const RenderedChat chat = with_assistant_turns(chat_template, messages, options_of(row));
  Pieces pieces = pieces_of(chat, chat_template.holds_special_tokens(), tokenizer_, end_id_);
  if (last_turn_alone) {
    const auto end = std::find(pieces.trained.rbegin(), pieces.trained.rend(), 1);
    std::fill(std::find(end, pieces.trained.rend(), 0), pieces.trained.rend(), 0);
  }
  const auto first = std::find(pieces.trained.begin(), pieces.trained.end(), 1) - pieces.trained.begin();
  SftExample example;
  example.prompt.assign(pieces.ids.begin(), pieces.ids.begin() + first);
  example.completion.assign(pieces.ids.begin() + first, pieces.ids.end());
  example.trained.assign(pieces.trained.begin() + first, pieces.trained.end());
  return example;
}

}  // namespace troupe
