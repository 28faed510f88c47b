#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "rewarders/reward.h"
#include "tests/common/rollout_log/scratch_folder.h"

namespace troupe {
namespace {

const std::string kFolder = std::string(TROUPE_TEST_DATA) + "/parity/reward_models/llama";

std::unique_ptr<Reward> model(const std::map<std::string, std::string>& more = {}) {
  std::map<std::string, std::string> parameters = more;
  parameters.insert({"path", kFolder});
  auto reward = make_reward({"own", "model", 1.0, parameters});
  reward->prepare();
  return reward;
}

/// What transformers makes of the texts of make_reward_model_goldens.py, whose questions are all "What is 2+3?".
struct Golden {
  std::string response;
  double score;
};
std::vector<Golden> goldens() {
  std::vector<Golden> all;
  for (const auto& row : nlohmann::json::parse(slurp(kFolder + "/texts.json"))) {
    all.push_back({row.at("text").get<std::string>().substr(std::string("What is 2+3?").size()), row.at("score")});
  }
  return all;
}

const nlohmann::json kRow = {{"question", "What is 2+3?"}};

}  // namespace

TEST_SUITE("rewarders/model_reward") {
  TEST_CASE("scores are those of transformers, and a group's together are each one's alone") {
    const auto reward = model();
    const std::vector<Golden> all = goldens();
    REQUIRE(all.size() == 3);
    std::vector<GradedItem> items;
    for (const Golden& golden : all) items.push_back({kRow, golden.response, 0, FinishReason::kStop});

    CHECK(reward->batches());
    const std::vector<Grade> together = reward->grade_all(items);

    for (std::size_t i = 0; i < all.size(); ++i) {
      REQUIRE(together[i].value);
      CHECK(together[i].reason == "ok");
      CHECK(std::abs(*together[i].value - all[i].score) < 1e-4);  // what is promised; measured 1e-6
      CHECK(reward->grade(items[i]).value == together[i].value);
    }
  }

  TEST_CASE("helpfulness reads the summary, harmlessness the whole response") {
    const auto whole = model({{"reads", "response"}}), summary = model({{"reads", "summary"}});
    const std::vector<Golden> all = goldens();  // [1] is [2] behind a chain of thought
    const GradedItem thought{kRow, all[1].response, 0, FinishReason::kStop};
    CHECK(std::abs(*whole->grade(thought).value - all[1].score) < 1e-4);
    CHECK(std::abs(*summary->grade(thought).value - all[2].score) < 1e-4);
    const std::string unfinished = "<think>2 and";
    const Grade none = summary->grade({kRow, unfinished, 0, FinishReason::kLength});
    CHECK(none.value);
    CHECK(none.reason == "no_answer");
  }

  TEST_CASE("a response that does not fit the model has no value, and the others theirs") {
    const auto reward = model();
    const std::string fits = "5", is_long(64, 'x');
    const std::vector<GradedItem> items = {{kRow, is_long, 0, FinishReason::kStop}, {kRow, fits, 0, FinishReason::kStop}};
    const std::vector<Grade> grades = reward->grade_all(items);
    CHECK_FALSE(grades[0].value);
    CHECK(grades[0].reason == "verifier_failed");
    CHECK(grades[1].value == reward->grade(items[1]).value);
  }

  TEST_CASE("what is no reward model is refused before anything runs") {
    CHECK_THROWS_WITH_AS(make_reward({"own", "model", 1.0, {}}), doctest::Contains("needs the key `path`"), ConfigError);
    const std::string language_model = std::string(TROUPE_TEST_DATA) + "/parity/families/llama";
    CHECK_THROWS_WITH_AS(model({{"path", language_model}}), doctest::Contains("expected a reward model, found a language model"),
                         ConfigError);
    CHECK_THROWS_WITH_AS(model({{"reads", "thoughts"}}),
                         doctest::Contains("reads: expected one of response, summary, found 'thoughts'"), ConfigError);
    CHECK_THROWS_AS(model({{"path", "/nonexistent"}}), ConfigError);
  }
}

}  // namespace troupe
