// Conversations and expressions against what transformers and jinja2 made of them (tests/parity/make_chat_goldens.py).

#include <doctest/doctest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/text.h"
#include "common/chat/chat_template.h"

using nlohmann::ordered_json;
using troupe::ByteRange;
using troupe::ChatTemplate;
using troupe::ConfigError;

namespace {

const std::string kTests = TROUPE_TEST_DATA;

std::vector<ordered_json> rows_of(const std::string& name) {
  std::vector<ordered_json> rows;
  const std::string text = troupe::read_file(kTests + "/parity/" + name);
  for (const std::string_view line : troupe::split(text, '\n')) {
    if (!line.empty()) rows.push_back(ordered_json::parse(line));
  }
  return rows;
}

}  // namespace

TEST_SUITE("chat/golden") {
  TEST_CASE("conversations become the bytes that transformers makes of them, and the assistant's ranges are its own") {
    const std::vector<ordered_json> rows = rows_of("chat_golden.jsonl");
    const ordered_json& world = rows.front();
    std::map<std::string, ChatTemplate> templates;
    for (std::size_t i = 1; i < rows.size(); ++i) {
      const ordered_json& row = rows[i];
      const auto name = row["template"].get<std::string>();
      if (!templates.contains(name)) {
        const std::string path = kTests + "/data/chat/" + name + ".jinja";
        templates.emplace(name, ChatTemplate::from_text(troupe::read_file(path), path, world["tokens"].get<troupe::SpecialTokens>()));
      }
      troupe::ChatOptions options;
      options.variables = row["variables"];
      if (row["with_tools"].get<bool>()) options.tools = world["tools"];
      options.date = world["date"].get<std::string>();
      const ordered_json& messages = world["conversations"][row["conversation"].get<std::string>()];
      CAPTURE(row.dump());
      if (row.contains("error")) {
        CHECK_THROWS_AS(templates.at(name).render(messages, options), ConfigError);
        continue;
      }
      const troupe::RenderedChat chat = templates.at(name).render_marked(messages, options);
      CHECK(chat.text == row["text"].get<std::string>());
      std::vector<ByteRange> ranges;
      for (const auto& range : row["assistant"]) ranges.push_back({range[0].get<std::size_t>(), range[1].get<std::size_t>()});
      CHECK(chat.assistant == ranges);
    }
    CHECK(templates.size() == 14);
  }

  TEST_CASE("expressions and statements give what jinja2 gives, and what it refuses is refused") {
    const std::vector<ordered_json> rows = rows_of("chat_expressions.jsonl");
    troupe::ChatOptions options;
    options.variables = rows.front()["values"];
    options.date = "2024-07-06";
    for (std::size_t i = 1; i < rows.size(); ++i) {
      const auto source = rows[i]["template"].get<std::string>();
      CAPTURE(rows[i].dump());
      std::optional<std::string> text;
      std::string error;
      try {
        text = ChatTemplate::from_text(source, "t").render(ordered_json::array(), options);
      } catch (const ConfigError& caught) {
        error = caught.what();
      }
      CAPTURE(error);
      if (rows[i].contains("error")) CHECK_FALSE(text);
      else CHECK(text == rows[i]["text"].get<std::string>());
    }
  }
}
