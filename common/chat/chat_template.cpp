#include "common/chat/chat_template.h"

#include <algorithm>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/strict_json.h"
#include "common/base/text.h"
#include "common/base/utf8.h"
#include "common/chat/functions.h"
#include "common/chat/named_templates.h"
#include "common/chat/parser.h"

namespace troupe {
namespace {

/// The tokens of one file: each a string, or an object with its `content`.
void add_tokens(const std::filesystem::path& path, SpecialTokens& tokens) {
  if (!std::filesystem::exists(path)) return;
  const nlohmann::json json = read_json_file(path.string());
  if (!json.is_object()) throw ConfigError(path.string() + ": expected an object, found " + json.type_name());
  for (const auto& [name, value] : json.items()) {
    if (!name.ends_with("_token")) continue;
    const nlohmann::json& text = value.is_object() && value.contains("content") ? value["content"] : value;
    if (text.is_string()) tokens.emplace(name, text.get<std::string>());
  }
}

/// The messages as transformers hands them to a template: what was reasoned, under whichever of its names, stands under the two that
/// templates read.
nlohmann::ordered_json with_reasoning_names(const nlohmann::ordered_json& messages) {
  nlohmann::ordered_json named = nlohmann::ordered_json::array();
  for (const auto& message : messages) {
    nlohmann::ordered_json reasoning;
    for (const char* name : {"reasoning", "thinking", "reasoning_content"}) {
      if (message.contains(name) && !message[name].is_null()) reasoning = message[name];
    }
    if (reasoning.is_null()) {
      named.push_back(message);
      continue;
    }
    nlohmann::ordered_json with_names = {{"thinking", reasoning}};
    with_names.update(message);
    with_names["reasoning_content"] = std::move(reasoning);
    named.push_back(std::move(with_names));
  }
  return named;
}

}  // namespace

struct ChatTemplate::Program {
  std::string where;
  TemplateBlock block;
};

SpecialTokens read_special_tokens(const std::filesystem::path& folder) {
  SpecialTokens tokens;
  add_tokens(folder / "tokenizer_config.json", tokens);
  add_tokens(folder / "special_tokens_map.json", tokens);
  return tokens;
}

void ChatTemplate::add(const std::string& name, std::string_view text, const std::string& where) {
  if (text.size() > limits_.template_bytes) {
    throw ConfigError(where + ": expected a template of at most " + std::to_string(limits_.template_bytes) + " bytes, found " + std::to_string(text.size()));
  }
  if (valid_utf8_prefix(text) != text.size()) throw ConfigError(where + ": the template is not UTF-8");
  programs_[name] = std::make_shared<const Program>(Program{where, parse_template(text, where)});
}

ChatTemplate ChatTemplate::from_text(std::string_view text, const std::string& where, SpecialTokens tokens, const TemplateLimits& limits) {
  ChatTemplate made;
  made.tokens_ = std::move(tokens);
  made.limits_ = limits;
  made.add("default", text, where);
  return made;
}

ChatTemplate ChatTemplate::from_model_folder(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "chat_template.jinja";
  const std::filesystem::path config = folder / "tokenizer_config.json";
  if (std::filesystem::exists(file)) return from_text(read_file(file), file.string(), read_special_tokens(folder));
  const nlohmann::json json = std::filesystem::exists(config) ? read_json_file(config.string()) : nlohmann::json::object();
  const nlohmann::json given = json.is_object() ? json.value("chat_template", nlohmann::json()) : nlohmann::json();
  const std::string where = config.string() + ": chat_template";
  if (given.is_null()) {
    throw ConfigError("no chat template: expected the file " + file.string() + " or `chat_template` in " + config.string() +
                      "; or choose a built-in prompt: " + join(names(), ", "));
  }
  if (given.is_string()) return from_text(given.get<std::string>(), where, read_special_tokens(folder));
  if (!given.is_array()) throw ConfigError(where + ": expected a string or a list of {name, template}, found " + given.type_name());
  ChatTemplate made;
  made.tokens_ = read_special_tokens(folder);
  for (const auto& entry : given) {
    const auto name = json_get<std::string>(entry, "name", where);
    const auto text = json_get<std::string>(entry, "template", where);
    if (name == "default" || name == "tool_use") made.add(name, text, where + " '" + name + "'");
  }
  if (!made.programs_.contains("default")) throw ConfigError(where + ": the list has no template of the name default");
  return made;
}

ChatTemplate ChatTemplate::named(const std::string& name) {
  const auto& known = named_templates();
  const auto found = std::find_if(known.begin(), known.end(), [&](const NamedTemplate& one) { return one.name == name; });
  if (found == known.end()) throw ConfigError("built-in prompt \"" + name + "\": expected one of " + join(names(), ", "));
  ChatTemplate made = from_text(found->text, "built-in prompt " + name);
  made.holds_special_tokens_ = found->holds_special_tokens;
  return made;
}

std::vector<std::string> ChatTemplate::names() {
  std::vector<std::string> names;
  for (const NamedTemplate& one : named_templates()) names.emplace_back(one.name);
  return names;
}

std::string ChatTemplate::render(const nlohmann::ordered_json& messages, const ChatOptions& options) const {
  return render_marked(messages, options).text;
}

RenderedChat ChatTemplate::render_marked(const nlohmann::ordered_json& messages, const ChatOptions& options) const {
  check_date(options.date);
  const bool is_list = messages.is_array() && std::all_of(messages.begin(), messages.end(), [](const auto& one) { return one.is_object(); });
  if (!is_list) throw ConfigError("messages: expected a list of objects, found " + beginning_of(messages.dump()));
  std::map<std::string, Value> variables;
  for (const auto& [name, text] : tokens_) variables[name] = Value(text);
  variables["messages"] = Value::from_json(with_reasoning_names(messages));
  variables["tools"] = Value::from_json(options.tools);
  variables["documents"] = None{};
  variables["add_generation_prompt"] = options.add_generation_prompt;
  for (const auto& [name, value] : options.variables.items()) variables[name] = Value::from_json(value);

  const auto with_tools = programs_.find("tool_use");
  const Program& program = options.tools.is_null() || with_tools == programs_.end() ? *programs_.at("default") : *with_tools->second;
  Evaluator evaluator(limits_, options.date);
  try {
    return evaluator.run(program.block, std::move(variables));
  } catch (const ConfigError& error) {
    throw ConfigError(program.where + ":" + std::to_string(evaluator.line()) + ": " + error.what());
  }
}

}  // namespace troupe
