#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <optional>

#include "rewarders/reward.h"

// The cases of tests/parity/format_reward_cases.jsonl (format_reward_cases.md says where they are from, and which differ and why),
// each through the rewards that say the same.

namespace troupe {
namespace {

using Json = nlohmann::json;

/// A number of a case as a parameter.
std::string text(const Json& value) { return value.dump(); }

double reward_of(const std::vector<RewardConfig>& rewards, const std::string& completion, const Json& row = Json::object(),
                 std::uint32_t tokens = 0) {
  return RewardSet(rewards).score({row, completion, tokens, FinishReason::kStop}).reward.value();
}

RewardConfig regex(const std::string& pattern, double weight = 1, bool full = true) {
  return {"regex " + pattern, "regex", weight, {{"pattern", pattern}, {"full", full ? "true" : "false"}}};
}
RewardConfig anywhere(const std::string& tag, double weight) {
  return regex("<" + tag + R"(>[\s\S]*</)" + tag + ">", weight, false);
}

double repetition(const Json& in, const std::string& completion) {
  return reward_of({{"r", "repetition", 1, {{"ngram", text(in["ngram_size"])}, {"max_penalty", text(in["max_penalty"])}}}},
                   completion);
}

double repetition_of_ids(const Json& in) {
  std::string words;
  for (const Json& id : in["completion_ids"]) words += id.dump() + " ";
  return repetition(in, words);
}

double overlong(const Json& tokens, const Json& most, const Json& buffer) {
  return reward_of({{"o", "overlong", 1, {{"max_tokens", text(most)}, {"buffer", text(buffer)}}}}, "", Json::object(), tokens);
}

double cosine(const Json& in) {
  const RewardConfig length = {"l",
                               "length",
                               1,
                               {{"max_tokens", text(in["max_len"])},
                                {"min_wrong", text(in["min_value_wrong"])},
                                {"max_wrong", text(in["max_value_wrong"])},
                                {"min_correct", text(in["min_value_correct"])},
                                {"max_correct", text(in["max_value_correct"])}}};
  return reward_of({length}, in["correct"] ? "<answer>1</answer>" : "<answer>2</answer>", {{"gold", "1"}}, in["completion_len"]);
}

/// NeMo RL's: a quarter for the thought, three for the answer.
std::vector<RewardConfig> parts(const Json& in, double weight) {
  return {anywhere(in.value("think_tag", "think"), 0.25 * weight), anywhere(in.value("answer_tag", "answer"), 0.75 * weight)};
}

double format_and_exact(const Json& in) {
  std::vector<RewardConfig> all = parts(in, 0.3);
  all.push_back({"exact", "exact", 0.7, {{"from", "tag"}}});
  return reward_of(all, in["completion"], in);
}

double code_format(const Json& in) {
  return reward_of({regex(R"(<think>[\s\S]*?</think>\s*<answer>[\s\S]*?```)" + in["language"].get<std::string>() +
                          R"(\n[\s\S]*?```[\s\S]*?</answer>)")},
                   in["completion"]);
}

using Rule = std::function<double(const Json& in)>;

/// By the beginning of the case's function; the first that fits counts.
const std::vector<std::pair<std::string, Rule>>& rules() {
  static const std::vector<std::pair<std::string, Rule>> kRules = {
      {"think_format_reward",
       [](const Json& in) { return reward_of({regex(R"(<think>(?![\s\S]*<think>)[\s\S]*?</think>[\s\S]*)")}, in["completion"]); }},
      {"format_reward (regex",
       [](const Json& in) {
         return reward_of({{"f", "format", 1, {}}}, in["completion"]);
       }},
      {"format_reward (0.25", [](const Json& in) { return reward_of(parts(in, 1), in["completion"]); }},
      {"combined 0.3*format", format_and_exact},
      {"tag_count_reward",
       [](const Json& in) {
         return reward_of({{"t", "tags", 1, {}}}, in["completion"]);
       }},
      {"repetition_penalty_reward (token ids)", repetition_of_ids},
      {"repetition_penalty_reward (lower-cased", [](const Json& in) { return repetition(in, in["completion"]); }},
      {"cosine_scaled_reward", cosine},
      {"soft_overlong_punishment",
       [](const Json& in) { return overlong(in["completion_len"], in["max_completion_len"], in["soft_punish_cache"]); }},
      {"dapo overlong buffer on the final reward",
       [](const Json& in) {
         return in["base_score"].get<double>() +
                in["penalty_factor"].get<double>() * overlong(in["response_len"], in["max_resp_len"], in["overlong_buffer_len"]);
       }},
      {"code_format_reward", code_format},
  };
  return kRules;
}

}  // namespace

TEST_SUITE("rewarders/conformance") {
  TEST_CASE("the published cases of other trainers give their values") {
    std::ifstream file(std::string(TROUPE_TEST_DATA) + "/parity/format_reward_cases.jsonl");
    REQUIRE(file);
    std::map<std::string, int> agreed;
    for (std::string line; std::getline(file, line);) {
      const Json c = Json::parse(line);
      const std::string function = c["function"];
      for (const auto& [begins, rule] : rules()) {
        if (!function.starts_with(begins)) continue;
        CAPTURE(line);
        CHECK(std::abs(rule(c["input"]) - c["expected"].get<double>()) <= std::max(c["abs_tol"].get<double>(), 1e-9));
        ++agreed[begins];
        break;
      }
    }
    CHECK(agreed == std::map<std::string, int>{{"think_format_reward", 14},
                                               {"format_reward (regex", 7},
                                               {"format_reward (0.25", 11},
                                               {"combined 0.3*format", 3},
                                               {"tag_count_reward", 6},
                                               {"repetition_penalty_reward (token ids)", 10},
                                               {"repetition_penalty_reward (lower-cased", 17},
                                               {"cosine_scaled_reward", 17},
                                               {"soft_overlong_punishment", 6},
                                               {"dapo overlong buffer on the final reward", 1},
                                               {"code_format_reward", 10}});
  }

  TEST_CASE("the parts of math_multi_reward that are rewards here agree") {
    std::ifstream file(std::string(TROUPE_TEST_DATA) + "/parity/format_reward_cases.jsonl");
    int agreed = 0;
    for (std::string line; std::getline(file, line);) {
      const Json c = Json::parse(line);
      if (c["function"] != "math_multi_reward") continue;
      CAPTURE(line);
      CHECK(reward_of({{"m", "math", 1, {{"from", "tag"}}}}, c["input"]["completion"], c["input"]) == c["expected"]["correctness"]);
      CHECK(reward_of({{"f", "format", 1, {}}}, c["input"]["completion"]) == c["expected"]["format"]);
      ++agreed;
    }
    CHECK(agreed == 3);
  }

  TEST_CASE("each Han character and kana is a word of the repetition reward, as such texts have no spaces") {
    const Json in = {{"ngram_size", 2}, {"max_penalty", -1.0}};
    CHECK(repetition(in, "这个这个这个这个这个") == doctest::Approx(-(1 - 2.0 / 9)));  // 9 pairs, of two kinds
    CHECK(repetition(in, "我喜欢猫") == 0);
    CHECK(repetition(in, "ねこ ねこ") == doctest::Approx(-(1 - 2.0 / 3)));
    CHECK(repetition(in, "a这个a这个") == doctest::Approx(-(1 - 3.0 / 5)));
  }
}

}  // namespace troupe
