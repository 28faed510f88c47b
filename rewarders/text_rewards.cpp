#include <algorithm>
#include <map>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/strict_json.h"
#include "common/base/text.h"
#include "common/base/utf8.h"
#include "common/data/rows.h"
#include "rewarders/code/program.h"
#include "rewarders/json_schema.h"
#include "rewarders/language/language_share.h"
#include "rewarders/language/prose.h"
#include "rewarders/maths/extraction.h"
#include "rewarders/reward_kinds.h"

namespace troupe {
namespace {

std::string known_language(const std::string& name, const std::string& where) {
  const auto code = language_code(name);
  if (!code) throw ConfigError(where + ": expected a language's code or English name, found '" + name + "'");
  return *code;
}

class LanguageReward final : public Reward {
 public:
  explicit LanguageReward(std::string language) : language_(std::move(language)) {}
  Grade grade(const GradedItem& item) const override {
    const auto share = language_share(thought_of(item.completion), target(item.row));
    if (!share) return {0.0, "no_answer"};
    return {*share, *share > 0.5 ? "ok" : "wrong"};
  }
  void check_row(const nlohmann::json& row) const override { target(row); }

 private:
  std::string target(const nlohmann::json& row) const {
    const std::string named = json_get_or<std::string>(row, "language", "", "row");
    if (!named.empty()) return known_language(named, "row: \"language\"");
    if (!language_.empty()) return language_;
    const std::string question = question_of({row, "row"}, "");
    const auto found = language_of(question);
    if (found) return *found;
    throw ConfigError("a reward of kind language expects \"language\" or a question that is long enough to tell, found \"" + question + "\"");
  }

  std::string language_;
};

/// Whether what opens is closed: fences and formulas.
bool closed(std::string_view text) {
  const auto count = [&](std::string_view mark) {
    std::size_t found = 0;
    for (std::size_t at = text.find(mark); at != std::string_view::npos; at = text.find(mark, at + mark.size())) ++found;
    return found;
  };
  return count("```") % 2 == 0 && count("$$") % 2 == 0 && count("\\(") == count("\\)") && count("\\[") == count("\\]");
}

bool clean(const std::string& text) {
  const auto control = [](unsigned char c) { return (c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7f; };
  return text.find("\xef\xbf\xbd") == std::string::npos && valid_utf8_prefix(text) == text.size() && std::none_of(text.begin(), text.end(), control);
}

class ReadabilityReward final : public Reward {
 public:
  Grade grade(const GradedItem& item) const override {
    if (trim(item.completion).empty()) return {0.0, "no_answer"};
    constexpr std::size_t kSameLines = 4;
    constexpr std::size_t kWordBytes = 60;
    constexpr std::size_t kParagraphBytes = 2000;
    std::map<std::string_view, std::size_t> lines;
    bool repeats = false;
    bool wall = false;
    for (const std::string_view line : split(item.completion, '\n')) {
      repeats |= !trim(line).empty() && ++lines[trim(line)] >= kSameLines;
      wall |= line.size() > kParagraphBytes;
    }
    const std::vector<Word> words = words_of(prose_of(item.completion));
    const bool endless = std::any_of(words.begin(), words.end(), [](const Word& word) { return word.weight == 1 && word.bytes > kWordBytes; });
    const int held = static_cast<int>(clean(item.completion)) + static_cast<int>(closed(item.completion)) + static_cast<int>(!repeats) +
                     static_cast<int>(!endless) + static_cast<int>(!wall);
    return {held / 5.0, held == 5 ? "ok" : "wrong"};
  }
};

class JsonReward final : public Reward {
 public:
  explicit JsonReward(std::optional<JsonSchema> schema) : schema_(std::move(schema)) {}
  Grade grade(const GradedItem& item) const override {
    const std::string text = json_text(item.completion);
    if (text.empty()) return {0.0, "no_answer"};
    const auto schema = schema_for(item.row);
    try {
      const nlohmann::json value = parse_json(text, "");
      return !schema || schema->accepts(value) ? Grade{1.0, "ok"} : Grade{0.0, "wrong"};
    } catch (const ConfigError&) {  // it is no JSON
      return {0.0, "wrong"};
    }
  }
  void check_row(const nlohmann::json& row) const override { schema_for(row); }

 private:
  std::optional<JsonSchema> schema_for(const nlohmann::json& row) const {
    const auto own = row.find("schema");
    return own == row.end() ? schema_ : std::optional(JsonSchema(*own, "row"));
  }

  static std::string json_text(const std::string& completion) {
    if (completion.find("```") == std::string::npos) {
      if (const auto tagged = last_tagged(completion, "answer")) return *tagged;
    }
    const auto block = program_of(completion);
    return block ? std::string(trim(block->text)) : "";
  }

  std::optional<JsonSchema> schema_;
};

}  // namespace

std::unique_ptr<Reward> make_language(RewardParameters& parameters) {
  const std::string language = parameters.text("language", "");
  return std::make_unique<LanguageReward>(language.empty() ? "" : known_language(language, "a reward of kind language: key \"language\""));
}

std::unique_ptr<Reward> make_readability(RewardParameters&) { return std::make_unique<ReadabilityReward>(); }

std::unique_ptr<Reward> make_json(RewardParameters& parameters) {
  const std::string path = parameters.text("schema", "");
  return std::make_unique<JsonReward>(path.empty() ? std::nullopt : std::optional(JsonSchema(read_json_file(path), path)));
}

}  // namespace troupe
