#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/chat/chat_template.h"
#include "common/data/rows.h"
#include "common/tokenizer/tokenizer.h"

namespace troupe {

/// How a question and a response become the text that a reward model reads. It is stored beside the weights, so that the model is
/// served as it was trained.
struct TextForm {
  std::string prompt = "auto";  // as data.prompt: auto, model or a built-in prompt
  std::string question_key;     // as data.question_key
  std::string date;             // as data.date
  bool operator==(const TextForm&) const = default;
};

/// Writes `folder`/scored_text.json. @throws TransportError.
void write_text_form(const TextForm& form, const std::filesystem::path& folder);
/// Reads it; the default form where there is no such file. @throws ConfigError naming the file and key.
TextForm read_text_form(const std::filesystem::path& folder);

/// Writes what a reward model reads. Borrows the tokenizer. Any thread.
class ScoredText {
 public:
  /// @throws ConfigError where the form asks for the model's chat template and `model_folder` has none that can be used.
  ScoredText(TextForm form, const Tokenizer& tokenizer, const std::filesystem::path& model_folder);

  /// The row's question or conversation, or neither where it has none, and then `response`: a text, which the assistant says, or a
  /// list of messages. As ids, through the template in one piece; with `plain` and `r1_zero` the tokenizer adds its special tokens
  /// and the end-of-text token follows. @throws ConfigError naming the row, or the template and its line.
  std::vector<std::int32_t> ids(const Row& row, const nlohmann::ordered_json& response) const;

 private:
  TextForm form_;
  const Tokenizer& tokenizer_;
  std::int32_t end_id_ = -1;                           // -1: there is none
  std::optional<ChatTemplate> text_template_;          // for rows that ask with a text
  std::optional<ChatTemplate> conversation_template_;  // for rows of messages
  std::string why_none_;                               // where there is none of these
};

/// The final summary of a response (DeepSeek-R1, 2.3.4, of which helpfulness is judged): what stands behind the last </think>; all
/// of it where there is no chain of thought; nothing where one was begun and never ended.
std::string_view summary_of(std::string_view response);

}  // namespace troupe
