#include "rewarders/reward.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <utility>

#include "common/base/error.h"

namespace troupe {
namespace {

using Json = nlohmann::json;

Grade graded(const RewardConfig& config, const Json& row, const std::string& completion, std::uint32_t tokens = 0) {
  return make_reward(config)->grade({row, completion, tokens, FinishReason::kStop});
}

RewardConfig kind(const std::string& name, std::map<std::string, std::string> parameters = {}) {
  return {name, name, 1.0, std::move(parameters)};
}

}  // namespace

TEST_SUITE("rewarders/reward") {
  TEST_CASE("math compares the final answer with GSM8K's gold by value") {
    const Json row = {{"question", "?"}, {"answer", "so it is 1,000.\n#### 1,000"}};

    CHECK(graded(kind("math"), row, "<answer>1000</answer>").value == 1.0);
    CHECK(graded(kind("math"), row, "\\boxed{1000.0}").value == 1.0);
    CHECK(graded(kind("math"), row, "<answer>999</answer>").reason == "wrong");
    CHECK(graded(kind("math"), row, "it is 1000").value == 1.0);
    CHECK(graded(kind("math"), row, "who knows?").reason == "no_answer");
    CHECK(graded(kind("math", {{"from", "tag,boxed,hash"}}), row, "it is 1000").reason == "no_answer");
    CHECK(graded(kind("math"), {{"gold", "so it is \\boxed{\\frac{1}{2}}."}}, "\\boxed{0.5}").value == 1.0);
    CHECK(graded(kind("math"), {{"gold", "1, 2"}}, "\\boxed{2, 1}").value == 1.0);
    CHECK(graded(kind("math", {{"ordered", "true"}}), {{"gold", "1, 2"}}, "\\boxed{2, 1}").value == 0.0);
    CHECK(graded(kind("math", {{"from", "number"}}), row, "it is 1000.").value == 1.0);
    CHECK_THROWS_AS(graded(kind("math"), {{"question", "?"}}, "<answer>1</answer>"), ConfigError);
  }

  TEST_CASE("exact wants the gold's very text") {
    const Json row = {{"gold", "10"}};

    CHECK(graded(kind("exact"), row, "<answer> 10 </answer>").value == 1.0);
    CHECK(graded(kind("exact"), row, "<answer>10.0</answer>").value == 0.0);
    CHECK(graded(kind("exact", {{"whole", "true"}}), row, " 10\n").value == 1.0);
  }

  TEST_CASE("arithmetic takes the gold, or else works the question out") {
    CHECK(graded(kind("arithmetic"), {{"gold", "722"}}, "<answer>722</answer>").value == 1.0);
    CHECK(graded(kind("arithmetic"), {{"question", "437+285="}}, "<answer>722</answer>").value == 1.0);
    CHECK(graded(kind("arithmetic"), {{"question", "437+285="}}, "<answer>721</answer>").value == 0.0);
    CHECK_THROWS_AS(graded(kind("arithmetic"), {{"question", "who?"}}, "<answer>1</answer>"), ConfigError);
  }

  TEST_CASE("countdown wants each number once and the target's value") {
    const Json row = {{"nums", {30, 100, 93}}, {"target", 23}};

    CHECK(graded(kind("countdown"), row, "<answer>93+30-100</answer>").value == 1.0);
    CHECK(graded(kind("countdown"), row, "<answer>93+30-100 = 23</answer>").value == 1.0);
    CHECK(graded(kind("countdown"), row, "<answer>23</answer>").value == 0.0);
    CHECK(graded(kind("countdown"), row, "<answer>93+30</answer>").value == 0.0);
    CHECK(graded(kind("countdown", {{"partial", "0.1"}}), row, "<answer>93-30+100</answer>").value == 0.1);
  }

  TEST_CASE("format wants each tag once, in order, with nothing around them") {
    struct Case {
      const char* text;
      double value;
    };
    const Case cases[] = {
        {"<think> a </think> <answer> b </answer>", 1},
        {"<think>a</think><answer>b</answer>\n", 1},
        {"x <think>a</think><answer>b</answer>", 0},
        {"<think>a</think> x <answer>b</answer>", 0},
        {"<think>a</think><answer>b</answer> x", 0},
        {"<think>a<think></think><answer>b</answer>", 0},
        {"<answer>b</answer><think>a</think>", 0},
        {"<think>a<answer></think>b</answer>", 0},
        {"<think>a</think>", 0},
        {"", 0},
    };

    for (const Case& c : cases) {
      CAPTURE(c.text);
      CHECK(graded(kind("format"), Json::object(), c.text).value == c.value);
    }
  }

  TEST_CASE("tags gives a quarter for each tag that is there once") {
    CHECK(graded(kind("tags"), Json::object(), "<think></think><answer></answer>").value == 1.0);
    CHECK(graded(kind("tags"), Json::object(), "<think></think><answer>").value == 0.75);
    CHECK(graded(kind("tags"), Json::object(), "<think><think></think>").value == 0.25);
  }

  TEST_CASE("regex searches, or matches the whole") {
    CHECK(graded(kind("regex", {{"pattern", "b+"}}), Json::object(), "abba").value == 1.0);
    CHECK(graded(kind("regex", {{"pattern", "b+"}, {"full", "true"}}), Json::object(), "abba").value == 0.0);
    CHECK_THROWS_AS(make_reward(kind("regex", {{"pattern", "("}})), ConfigError);
    CHECK_THROWS_AS(make_reward(kind("regex")), ConfigError);
  }

  TEST_CASE("overlong and length follow DAPO's and Yeo's formulas at hand-worked points") {
    const RewardConfig overlong = kind("overlong", {{"max_tokens", "100"}, {"buffer", "20"}});
    CHECK(graded(overlong, Json::object(), "", 80).value == 0.0);
    CHECK(graded(overlong, Json::object(), "", 90).value == doctest::Approx(-0.5));
    CHECK(graded(overlong, Json::object(), "", 110).value == -1.0);

    const RewardConfig length = kind("length", {{"max_tokens", "100"}});
    const Json row = {{"gold", "1"}};
    CHECK(graded(length, row, "<answer>1</answer>", 0).value == doctest::Approx(1.0));
    CHECK(graded(length, row, "<answer>1</answer>", 100).value == doctest::Approx(0.5));
    CHECK(graded(length, row, "<answer>2</answer>", 0).value == doctest::Approx(-1.0));
    CHECK(graded(length, row, "<answer>2</answer>", 50).value == doctest::Approx(-0.75));
    // -1 + (1 - cos(pi / 4)) / 4 = -0.92678, TRL's published case for 25 of 100.
    CHECK(graded(length, row, "<answer>2</answer>", 25).value == doctest::Approx(-0.92678));
  }

  TEST_CASE("a set weighs and sums its components, and keeps value and reason of each") {
    const RewardSet set({{"accuracy", "math", 1.0, {}}, {"format", "format", 0.2, {}}});
    const Json row = {{"gold", "7"}};
    const std::string text = "<answer>7</answer>";

    const Score score = set.score({row, text, 3, FinishReason::kStop});

    CHECK(*score.reward == doctest::Approx(1.0));
    REQUIRE(score.components.size() == 2);
    CHECK(score.components[0].name == "accuracy");
    CHECK(score.components[0].reason == "ok");
    CHECK(score.components[1].value == 0.0);
  }

  TEST_CASE("a row may choose its reward; one that is always on stays") {
    const RewardSet set({{"a", "math", 1.0, {}}, {"b", "exact", 1.0, {}}, {"c", "format", 1.0, {{"always", "true"}}}});
    const std::string text = "<answer>7</answer>";

    CHECK(set.score({{{"gold", "7"}, {"reward", "b"}}, text, 0, FinishReason::kStop}).components.size() == 2);
    CHECK_THROWS_AS(set.score({{{"gold", "7"}, {"reward", "z"}}, text, 0, FinishReason::kStop}), ConfigError);
  }

  TEST_CASE("rows that a reward cannot grade are named before a run, with what it expects and what was found") {
    struct Case {
      std::vector<RewardConfig> rewards;
      const char* row;
      const char* problem;  // of line 2
    };
    const RewardConfig math = kind("math"), exact = kind("exact"), sum = kind("arithmetic"), length = kind("length"), form = kind("format");
    const std::string gold = " expects an answer under \"gold\" or \"answer\", found the keys ";
    const std::string of_math = "[reward.math]: a reward of kind math" + gold + "question, solution";
    const std::string of_length = "[reward.length]: a reward of kind length" + gold + "answer, question";
    const Case cases[] = {
        {{form, math}, R"({"question": "1+1=", "solution": "2"})", of_math.c_str()},
        {{exact}, R"({"question": "1+1=", "answer": [2]})", "[reward.exact]: row: \"answer\": expected a string or a number, found array"},
        {{length}, R"({"question": "1+1=", "answer": ""})", of_length.c_str()},
        {{sum}, R"({"question": "why?", "answer": "so"})",
         "[reward.arithmetic]: a reward of kind arithmetic expects a number under \"gold\" or \"answer\" or an expression under "
         "\"question\", found \"so\" and \"why\""},
        {{kind("countdown")}, R"({"nums": [1, 2]})",
         "[reward.countdown]: a reward of kind countdown expects a list under \"nums\" and a number under \"target\", found the keys nums"},
        {{form, math}, R"({"question": "1+1=", "reward": "code"})",
         "the row asks for reward 'code', but the configuration has no [reward.code]"},
        {{form}, R"({"reward": 1})", "\"reward\": expected a string or a list of strings, found 1"},
        {{kind("code")}, R"({"question": "?"})",
         "[reward.code]: a reward of kind code expects \"test\" with \"entry_point\", \"test_list\" or \"tests\", found the keys question"},
        {{kind("code")}, R"({"test_list": ["assert f"], "lang": "cobol"})",
         "[reward.code]: row: \"lang\": expected python or cpp, found \"cobol\""},
        {{kind("code")}, R"({"test_list": ["assert f"], "lang": "cpp"})",
         "[reward.code]: row: \"lang\": programs in C++ are tested by \"tests\" alone, found the keys lang, test_list"},
        {{kind("language")}, R"({"question": "1+1"})",
         "[reward.language]: a reward of kind language expects \"language\" or a question that is long enough to tell, found \"1+1\""},
        {{kind("json")}, R"({"schema": {"typ": 1}})", "[reward.json]: row: schema: does not know the keyword \"typ\""},
        {{form, math}, R"({"question": "a poem", "reward": "format"})", nullptr},
        {{form, math}, R"({"question": "a poem", "reward": ["format"]})", nullptr},
        {{kind("code")}, R"({"tests": [{"input": "1", "output": "1"}], "lang": "C++"})", nullptr},
        {{sum}, R"({"question": "1+1="})", nullptr},
        {{form, math, exact, length}, R"({"question": "1+1=", "answer": 2})", nullptr},
    };
    const std::string base = (std::filesystem::temp_directory_path() / ("troupe-rows-" + std::to_string(::getpid()))).string();
    const std::string good = base + "-good.jsonl", path = base + ".jsonl";
    const std::string good_row = R"({"question": "1+1=", "answer": "2", "nums": [1], "target": 1, "test_list": ["assert f"], "language": "en"})";
    std::ofstream(good) << good_row << '\n';
    for (const Case& c : cases) {
      std::ofstream(path) << good_row << '\n' << c.row << '\n';
      Config config;
      config.rewards = c.rewards;
      config.data.train = good;
      config.data.eval = path;
      CAPTURE(c.row);
      if (c.problem == nullptr) {
        check_gradable(config);
      } else {
        CHECK_THROWS_WITH_AS(check_gradable(config), (path + ":2: " + c.problem).c_str(), ConfigError);
      }
      std::swap(config.data.train, config.data.eval);
      if (c.problem != nullptr) CHECK_THROWS_AS(check_gradable(config), ConfigError);
    }
    std::filesystem::remove(path);
    std::filesystem::remove(good);
  }

  TEST_CASE("a row may choose several; one that is always on counts once") {
    const RewardSet set({{"a", "math", 1.0, {}}, {"b", "exact", 10.0, {}}, {"c", "tags", 100.0, {{"always", "true"}}}});
    const std::string text = "<answer>7</answer>";

    CHECK(set.score({{{"gold", "7"}, {"reward", {"a", "c"}}}, text, 0, FinishReason::kStop}).reward == 51.0);
    CHECK(set.score({{{"gold", "7"}, {"reward", Json::array()}}, text, 0, FinishReason::kStop}).reward == 50.0);
    CHECK(set.score({{{"gold", "7"}}, text, 0, FinishReason::kStop}).reward == 61.0);
    CHECK_THROWS_AS(set.score({{{"gold", "7"}, {"reward", 3}}, text, 0, FinishReason::kStop}), ConfigError);
  }

  TEST_CASE("a gated component counts only where the other's value is 1, and is reported either way") {
    const RewardSet set({{"accuracy", "math", 2.0, {{"gate", "format"}}}, {"format", "format", 0.5, {}}});
    const std::string good = "<think>a</think><answer>7</answer>";
    const std::string bare = "<answer>7</answer>";

    CHECK(set.score({{{"gold", "7"}}, good, 0, FinishReason::kStop}).reward == 2.5);
    const Score gated = set.score({{{"gold", "7"}}, bare, 0, FinishReason::kStop});
    CHECK(gated.reward == 0.0);
    CHECK(gated.components.at(0).value == 1.0);
    // The gate of a component that the row chooses is graded, and does not count itself.
    const Score chosen = set.score({{{"gold", "7"}, {"reward", "accuracy"}}, good, 0, FinishReason::kStop});
    CHECK(chosen.reward == 2.0);
    CHECK(chosen.components.size() == 2);
    CHECK_THROWS_WITH_AS(RewardSet({{"a", "math", 1.0, {{"gate", "b"}}}}), doctest::Contains("reward.a.gate"), ConfigError);
    CHECK_THROWS_AS(RewardSet({{"a", "math", 1.0, {{"gate", "a"}}}}), ConfigError);
  }

  TEST_CASE("a component is clipped in the sum, and reported as it is") {
    const RewardSet set({{"a", "tags", 2.0, {{"clip_low", "0.5"}, {"clip_high", "0.75"}}}});
    const auto of = [&](const std::string& text) { return set.score({Json::object(), text, 0, FinishReason::kStop}); };

    CHECK(of("").reward == 1.0);
    CHECK(of("").components.at(0).value == 0.0);
    CHECK(of("<think></think><answer></answer>").reward == 1.5);
    CHECK_THROWS_WITH_AS(RewardSet({{"a", "tags", 1.0, {{"clip_low", "1"}, {"clip_high", "0"}}}}), doctest::Contains("clip_high"), ConfigError);
  }

  TEST_CASE("a component that failed leaves the sum without value, unless it does not count") {
    const RewardSet set({{"own", "external", 1.0, {{"command", "false"}}}, {"tags", "tags", 1.0, {}}});

    CHECK_FALSE(set.score({Json::object(), "", 0, FinishReason::kStop}).reward.has_value());
    CHECK(set.score({{{"reward", "tags"}}, "", 0, FinishReason::kStop}).reward == 0.0);
  }

  TEST_CASE("unknown kinds, keys and values are named with what is known") {
    CHECK_THROWS_WITH_AS(make_reward(kind("maths")), doctest::Contains("known are arithmetic"), ConfigError);
    CHECK_THROWS_WITH_AS(make_reward(kind("math", {{"form", "tag"}})), doctest::Contains("reward.math.form: unknown key"), ConfigError);
    CHECK_THROWS_WITH_AS(make_reward(kind("math", {{"from", "box"}})), doctest::Contains("found 'box'"), ConfigError);
    CHECK_THROWS_WITH_AS(make_reward(kind("overlong", {{"buffer", "many"}})), doctest::Contains("expected a number"), ConfigError);
  }
}

}  // namespace troupe
