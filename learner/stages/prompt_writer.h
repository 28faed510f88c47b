#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/chat/chat_template.h"
#include "common/config/config.h"
#include "common/data/rows.h"
#include "common/tokenizer/tokenizer.h"
#include "learner/stages/supervised.h"

namespace troupe {

/// Rows to token ids, as data.prompt says. A text that a chat template wrote holds its special tokens already; to one of `plain`
/// and `r1_zero` the tokenizer adds its own at the front, and the end-of-text token follows each answer. Borrows the tokenizer.
/// Any thread.
class PromptWriter {
 public:
  /// The template and the end-of-text token are those of `model_folder`. @throws ConfigError where data.prompt asks for the model's
  /// template and there is none that can be used.
  PromptWriter(DataConfig data, const Tokenizer& tokenizer, const std::filesystem::path& model_folder);

  const DataConfig& data() const { return data_; }

  /// The prompt of a training row, up to where the answer begins. @throws ConfigError naming the row, where it cannot be written
  /// or its last message is the assistant's.
  std::vector<std::int32_t> prompt_ids(const Row& row) const;

  /// An SFT row: {"prompt", "completion"}, or {"messages"}, of which the assistant's turns are trained. @throws ConfigError naming
  /// the row.
  SftExample example(const Row& row) const;

  /// A preference row: the question of a training row with its "chosen" answer, and with its "rejected" one. An answer is a text,
  /// or an assistant's message, alone or in an array; it is what is trained. @throws ConfigError naming the row.
  std::vector<SftExample> pair(const Row& row) const;

 private:
  const ChatTemplate& template_of(bool is_conversation) const;
  ChatOptions options_of(const Row& row) const;
  std::vector<std::int32_t> prompt_of(const Row& row, const nlohmann::ordered_json& messages, bool is_conversation) const;
  SftExample text_example(const Row& row, const std::string& prompt, const std::string& completion) const;
  SftExample conversation_example(const Row& row, const nlohmann::ordered_json& messages, bool last_turn_alone) const;

  DataConfig data_;
  const Tokenizer& tokenizer_;
  std::int32_t end_id_ = -1;                           // -1: there is none
  std::optional<ChatTemplate> text_template_;          // for rows that ask with a text
  std::optional<ChatTemplate> conversation_template_;  // for rows of messages
  std::string why_none_;                               // where there is none of these
};

}  // namespace troupe
