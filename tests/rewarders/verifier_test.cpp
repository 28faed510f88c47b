#include "rewarders/verifier.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/common/rollout_log/scratch_folder.h"

namespace troupe {
namespace {

/// A verifier process that is a script: it keeps the lines that it is given, answers a list by `to_list` and an item by a reward
/// of 2.
struct Scripted {
  ScratchFolder scratch;
  VerifierProcess verifier;

  Scripted(const RewardConfig& reward, const std::string& to_list) : verifier({reward}, {"/bin/sh", "-c", script(to_list)}) {}

  std::string script(const std::string& to_list) {
    return "read rewards; echo '{\"about\": []}'; while read -r line; do echo \"$line\" >>" + (scratch / "asked").string() +
           "; case \"$line\" in \\[*) echo '" + to_list + "';; *) echo '{\"reward\": 2, \"components\": {}}';; esac; done";
  }
  std::int64_t lines() const {
    const std::string asked = slurp(scratch / "asked");
    return std::count(asked.begin(), asked.end(), '\n');
  }
  std::vector<double> rewards() {
    const std::vector<VerifierProcess::Item> items = {{"{}", "a", 1, FinishReason::kStop}, {"{}", "b", 1, FinishReason::kLength}};
    std::vector<double> rewards;
    for (const Score& score : verifier.score_all(items, 5)) rewards.push_back(score.reward.value_or(-1));
    return rewards;
  }
};

const RewardConfig kTogether = {"m", "model", 1.0, {{"path", std::string(TROUPE_TEST_DATA) + "/parity/reward_models/llama"}}};

}  // namespace

TEST_SUITE("rewarders/verifier") {
  TEST_CASE("a kind that is quicker together gets a group in one request, and what fails of it once more alone") {
    Scripted all(kTogether, R"([{"reward": 1, "components": {}}, {"reward": 3, "components": {}}])");
    CHECK(all.verifier.batch() == 16);
    CHECK(all.rewards() == std::vector<double>{1, 3});
    CHECK(all.lines() == 1);
    Scripted one_fails(kTogether, R"([{"reward": 1, "components": {}}, {"reward": null, "components": {}}])");
    CHECK(one_fails.rewards() == std::vector<double>{1, 2});
    CHECK(one_fails.lines() == 2);
    CHECK(one_fails.verifier.restarts() == 0);
  }

  TEST_CASE("an answer that is no list of as many scores replaces the process, and each is asked alone") {
    for (const char* answer : {"nonsense", "[]", R"({"reward": 1, "components": {}})"}) {
      CAPTURE(answer);
      Scripted scripted(kTogether, answer);
      CHECK(scripted.rewards() == std::vector<double>{2, 2});
      CHECK(scripted.lines() == 3);
      CHECK(scripted.verifier.restarts() == 1);
    }
  }

  TEST_CASE("plain reckoning is asked for a group in one request; programs, which take their time, one by one") {
    Scripted plain({"f", "format", 1.0, {}}, R"([{"reward": 1, "components": {}}, {"reward": 3, "components": {}}])");
    CHECK(plain.verifier.batch() == 16);
    CHECK(plain.rewards() == std::vector<double>{1, 3});
    CHECK(plain.lines() == 1);
    Scripted programs({"c", "code", 1.0, {}}, "nonsense");
    CHECK(programs.verifier.batch() == 1);
    CHECK(programs.rewards() == std::vector<double>{2, 2});
    CHECK(programs.lines() == 2);
  }

  TEST_CASE("a group of plain reckoning has one completion's time, and is then asked one by one") {
    Scripted stuck({"f", "format", 1.0, {}}, "'; sleep 100; echo '");
    const std::int64_t start_ms = SteadyClock().now_ms();
    const std::vector<VerifierProcess::Item> items(10, {"{}", "a", 1, FinishReason::kStop});
    for (const Score& score : stuck.verifier.score_all(items, 0.5)) CHECK(score.reward == 2);
    CHECK(SteadyClock().now_ms() - start_ms < 4000);
    CHECK(stuck.verifier.restarts() == 1);
  }
}

}  // namespace troupe
