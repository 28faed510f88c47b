#include "common/chat/assistant_turns.h"

#include "common/base/error.h"

namespace troupe {

RenderedChat with_assistant_turns(const ChatTemplate& chat_template, const nlohmann::ordered_json& messages, ChatOptions options) {
  options.add_generation_prompt = false;
  RenderedChat chat = chat_template.render_marked(messages, options);
  if (!chat.assistant.empty()) return chat;
  nlohmann::ordered_json first = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const bool is_assistant = messages[i].value("role", nlohmann::ordered_json()) == "assistant";
    options.add_generation_prompt = true;
    const std::string before = is_assistant ? chat_template.render(first, options) : "";
    first.push_back(messages[i]);
    if (!is_assistant) continue;
    options.add_generation_prompt = false;
    const std::string with_turn = chat_template.render(first, options);
    if (!with_turn.starts_with(before) || !chat.text.starts_with(with_turn)) {
      throw ConfigError("messages[" + std::to_string(i) + "]: the template does not write the messages up to this one as it writes them within the whole "
                        "conversation, so that the assistant's text cannot be told; put it into a {% generation %} block of the template, or choose a built-in prompt");
    }
    if (with_turn.size() > before.size()) chat.assistant.push_back({before.size(), with_turn.size()});
  }
  if (chat.assistant.empty()) throw ConfigError("messages: expected text of the role assistant, found none");
  return chat;
}

}  // namespace troupe
