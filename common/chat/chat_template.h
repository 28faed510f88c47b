#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "common/chat/evaluator.h"

namespace troupe {

/// "bos_token", "eos_token" …: their texts, as templates see them.
using SpecialTokens = std::map<std::string, std::string>;

/// Those of `folder`/tokenizer_config.json, and of special_tokens_map.json what that has not; none where there are no such files.
SpecialTokens read_special_tokens(const std::filesystem::path& folder);

struct ChatOptions {
  bool add_generation_prompt = false;
  nlohmann::ordered_json tools;                                          // null: none
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();   // further ones that the template reads
  std::string date;                                                      // YYYY-MM-DD for strftime_now; empty: there is no such function
};

/// A conversation to text, as transformers' apply_chat_template does it: the Jinja template of a model, or a built-in prompt.
/// Immutable: any thread.
class ChatTemplate {
 public:
  /// `folder`/chat_template.jinja, or `chat_template` of tokenizer_config.json: one template, or a list of {name, template} of
  /// which `default` is used, and `tool_use` where there are tools. @throws ConfigError naming the file and line of what is
  /// malformed or not supported, or the files looked for and the built-in names where there is no template.
  static ChatTemplate from_model_folder(const std::filesystem::path& folder);
  /// A built-in prompt. @throws ConfigError listing the names where there is none of that name.
  static ChatTemplate named(const std::string& name);
  static std::vector<std::string> names();
  /// From its text; `where` names it in errors.
  static ChatTemplate from_text(std::string_view text, const std::string& where, SpecialTokens tokens = {}, const TemplateLimits& limits = {});

  /// The conversation: a list of objects with `role` and `content` and whatever else the template reads.
  /// @throws ConfigError naming the template's line, with what the template itself refuses too.
  std::string render(const nlohmann::ordered_json& messages, const ChatOptions& options = {}) const;
  /// The same, with the byte ranges of the template's {% generation %} blocks.
  RenderedChat render_marked(const nlohmann::ordered_json& messages, const ChatOptions& options = {}) const;

  /// Whether the text holds the special tokens that it needs, so that the tokenizer must add none. Not so of `plain` and
  /// `r1_zero`, which know no tokenizer.
  bool holds_special_tokens() const { return holds_special_tokens_; }

 private:
  struct Program;
  ChatTemplate() = default;
  void add(const std::string& name, std::string_view text, const std::string& where);

  std::map<std::string, std::shared_ptr<const Program>> programs_;  // shared by copies; `default`, and maybe `tool_use`
  SpecialTokens tokens_;
  TemplateLimits limits_;
  bool holds_special_tokens_ = true;
};

}  // namespace troupe
