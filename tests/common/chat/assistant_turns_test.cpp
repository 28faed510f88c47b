#include "common/chat/assistant_turns.h"

#include <doctest/doctest.h>

#include "common/base/error.h"
#include "common/base/files.h"

using nlohmann::ordered_json;
using troupe::ChatTemplate;
using troupe::ConfigError;

namespace {

const ordered_json kTurns = ordered_json::parse(R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
                                                    {"role": "assistant", "content": "<think>\nd\n</think>\n\ne"}])");

ChatTemplate file(const std::string& name) {
  const std::string path = std::string(TROUPE_TEST_DATA) + "/data/chat/" + name + ".jinja";
  return ChatTemplate::from_text(troupe::read_file(path), path, {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
}

std::string turns_of(const ChatTemplate& chat_template, const ordered_json& messages, const troupe::ChatOptions& options = {}) {
  const troupe::RenderedChat chat = troupe::with_assistant_turns(chat_template, messages, options);
  std::string turns;
  for (const auto& range : chat.assistant) turns += chat.text.substr(range.begin, range.end - range.begin) + "|";
  return turns;
}

}  // namespace

TEST_SUITE("chat/assistant_turns") {
  TEST_CASE("without marks a turn begins behind the generation prompt and ends with what the template writes after it") {
    CHECK(turns_of(file("qwen2_5"), kTurns) == "b<|im_end|>\n|<think>\nd\n</think>\n\ne<|im_end|>\n|");
    CHECK(turns_of(file("gemma2"), kTurns) == "b<end_of_turn>\n|<think>\nd\n</think>\n\ne<end_of_turn>\n|");
    CHECK(turns_of(file("headers"), kTurns) == "b<|end|>|<think>\nd\n</think>\n\ne<|end|>|");
    troupe::ChatOptions asked;
    asked.add_generation_prompt = true;  // it makes no difference
    CHECK(turns_of(file("headers"), kTurns, asked) == turns_of(file("headers"), kTurns));
  }

  TEST_CASE("with marks they are the template's blocks") {
    troupe::ChatOptions options;
    options.date = "2024-07-06";
    CHECK(turns_of(file("smollm3"), kTurns, options) == "<|im_start|>assistant\nb<|im_end|>\n|<|im_start|>assistant\n<think>\nd\n</think>\n\ne<|im_end|>\n|");
    CHECK(turns_of(ChatTemplate::named("chatml"), kTurns) == "b<|im_end|>|<think>\nd\n</think>\n\ne<|im_end|>|");
  }

  TEST_CASE("a template that writes earlier messages anew is refused, and so is a conversation without an assistant") {
    CHECK(turns_of(file("qwen3"), ordered_json::array({kTurns[2], kTurns[3]})) == "<think>\nd\n</think>\n\ne<|im_end|>\n|");
    CHECK_THROWS_WITH_AS(turns_of(file("qwen3"), kTurns), doctest::Contains("messages[1]: the template does not write the messages"), ConfigError);
    CHECK_THROWS_WITH_AS(turns_of(file("phi3"), kTurns), doctest::Contains("messages[1]"), ConfigError);
    CHECK_THROWS_WITH_AS(turns_of(file("deepseek_r1"), ordered_json::array({kTurns[2], kTurns[3]})), doctest::Contains("messages[1]"), ConfigError);
    CHECK_THROWS_WITH_AS(turns_of(file("qwen2"), ordered_json::array({kTurns[0]})), doctest::Contains("expected text of the role assistant, found none"), ConfigError);
  }
}
