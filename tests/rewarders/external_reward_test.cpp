#include <doctest/doctest.h>

#include <chrono>
#include <csignal>

#include "common/base/error.h"
#include "rewarders/reward.h"

namespace troupe {
namespace {

const std::string kExamples = std::string(TROUPE_TEST_DATA) + "/../docs/rewards/";

std::unique_ptr<Reward> external(const std::string& command, const std::string& timeout_s = "10") {
  std::signal(SIGPIPE, SIG_IGN);  // as the program does
  return make_reward({"own", "external", 1.0, {{"command", command}, {"timeout_s", timeout_s}}});
}

std::string told(const Reward& reward, const std::string& completion, const nlohmann::json& row = {{"gold", "42"}}) {
  const Grade grade = reward.grade({row, completion, 3, FinishReason::kLength});
  return (grade.value ? nlohmann::json(*grade.value).dump() : "null") + " " + grade.reason;
}

}  // namespace

TEST_SUITE("rewarders/external_reward") {
  TEST_CASE("the example of the documentation grades") {
    const auto reward = external("/usr/bin/python3 '" + kExamples + "external.py'");

    CHECK(told(*reward, "It is 42.\n\"Yes\" \xff") == "1.0 ok");
    CHECK(told(*reward, "It is 41.") == "0.0 wrong");
    CHECK(told(*reward, "42" + std::string(200, ' ')) == "0.0 wrong");
  }

  TEST_CASE("a program that dies, is late, or talks nonsense gives no value and is started anew") {
    const auto reward = external("/usr/bin/python3 -uc \"\nimport json, sys, time\nfor line in sys.stdin:\n  item = json.loads(line)\n  said = item['completion']\n"
                                 "  if said == 'die': raise SystemExit(1)\n  if said == 'sleep': time.sleep(60)\n"
                                 "  print(said if said.startswith(('{', '[', 'x')) else json.dumps({'value': item['tokens'] + item['cut_off']}))\"", "1");

    CHECK(told(*reward, "a") == "4.0 ok");
    CHECK(told(*reward, "die") == "null verifier_failed");
    CHECK(told(*reward, "a") == "4.0 ok");
    const auto start = std::chrono::steady_clock::now();
    CHECK(told(*reward, "sleep") == "null verifier_failed");
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(3));
    CHECK(told(*reward, "a") == "4.0 ok");
    for (const char* nonsense : {"xyz", "[]", "{}", "{\"value\": \"1\"}", "{\"value\": 1, \"reason\": \"Not a word\"}", "{\"value\": null}"}) {
      CAPTURE(nonsense);
      CHECK(told(*reward, nonsense) == "null verifier_failed");
    }
    CHECK(told(*reward, "{\"value\": -0.5, \"reason\": \"half_right\"}") == "-0.5 half_right");
  }

  TEST_CASE("a command that cannot be run gives no value, an empty one is refused") {
    CHECK(told(*external("/nonexistent/program"), "a") == "null verifier_failed");
    CHECK_THROWS_AS(external(""), ConfigError);
  }
}

}  // namespace troupe
