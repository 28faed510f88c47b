#include <doctest/doctest.h>

#include "common/base/error.h"
#include "rewarders/reward.h"

namespace troupe {
namespace {

using Json = nlohmann::json;

Grade graded(const std::string& kind, const Json& row, const std::string& completion, std::map<std::string, std::string> parameters = {}) {
  return make_reward({kind, kind, 1.0, std::move(parameters)})->grade({row, completion, 0, FinishReason::kStop});
}

}  // namespace

TEST_SUITE("rewarders/text_rewards") {
  TEST_CASE("language takes the row's, the configuration's or the question's language, and looks at the thought alone") {
    const std::string text = "<think>First we add the numbers, then we divide by two.</think><answer>首先把数字相加</answer>";
    const Json question = {{"question", "How many eggs does she sell at the market every day?"}};

    CHECK(graded("language", {{"language", "en"}}, text).value == 1.0);
    CHECK(graded("language", {{"language", "zh"}}, text, {{"language", "en"}}).value == 0.0);
    CHECK(graded("language", {{"question", "?"}}, text, {{"language", "Chinese"}}).reason == "wrong");
    CHECK(graded("language", question, text).value == 1.0);
    CHECK(graded("language", question, "<think>1 + 1</think>").reason == "no_answer");
    CHECK_THROWS_WITH_AS(graded("language", {{"language", "xx-yy"}}, text), doctest::Contains("'xx-yy'"), ConfigError);
    CHECK_THROWS_AS(graded("language", {{"question", "1+1"}}, text), ConfigError);
    CHECK_THROWS_AS(make_reward({"l", "language", 1.0, {{"language", "klingonese"}}}), ConfigError);
  }

  TEST_CASE("readability counts five signs") {
    const std::string good = "First we add.\n\nThen:\n```\nx\n```\nso \\(x\\) is 3.";

    CHECK(graded("readability", {}, good).value == 1.0);
    CHECK(graded("readability", {}, good + "\n```").value == 0.8);
    CHECK(graded("readability", {}, good + " \\(").value == 0.8);
    CHECK(graded("readability", {}, good + "\x01").value == 0.8);
    CHECK(graded("readability", {}, "a\na\na\na\n").value == 0.8);
    CHECK(graded("readability", {}, "a\na\na\n").value == 1.0);
    CHECK(graded("readability", {}, std::string(61, 'a')).value == 0.8);
    CHECK(graded("readability", {}, std::string(60, 'a')).value == 1.0);
    CHECK(graded("readability", {}, std::string(2001, '.')).value == 0.8);
    CHECK(graded("readability", {}, " \n").reason == "no_answer");
  }

  TEST_CASE("json takes the last block, the answer or the whole, and a schema where there is one") {
    const Json row = {{"schema", {{"type", "object"}, {"required", {"a"}}}}};

    CHECK(graded("json", {}, "{\"a\": 1}").value == 1.0);
    CHECK(graded("json", {}, "<think>{</think><answer>[1, 2]</answer>").value == 1.0);
    CHECK(graded("json", row, "Here:\n```json\n{\"a\": 1}\n```\nDone.").value == 1.0);
    CHECK(graded("json", row, "{\"b\": 1}").reason == "wrong");
    CHECK(graded("json", {}, "{\"a\": 1").reason == "wrong");
    CHECK(graded("json", {}, "\n").reason == "no_answer");
    CHECK_THROWS_AS(graded("json", {{"schema", {{"typo", 1}}}}, "{}"), ConfigError);
  }
}

}  // namespace troupe
