#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "rewarders/line_process.h"
#include "rewarders/reward.h"
#include "tests/common/rollout_log/scratch_folder.h"

namespace troupe {
namespace {

/// A judge that does what the response tells it to (judge_server.py), and a reward that asks it.
struct Fixture {
  ScratchFolder scratch;
  LineProcess server;
  std::string url;

  /// `arguments` are the server's.
  explicit Fixture(const std::vector<std::string>& arguments = {}, const std::string& scheme = "http")
      : server([&] {
          std::vector<std::string> words = {"/usr/bin/python3", std::string(TROUPE_TEST_DATA) + "/rewarders/judge_server.py"};
          words.insert(words.end(), arguments.begin(), arguments.end());
          return words;
        }()) {
    std::signal(SIGPIPE, SIG_IGN);  // as the program does
    server.start();
    const auto port = server.read_line(Deadline::after_s(30));
    REQUIRE(port);
    url = scheme + "://127.0.0.1:" + *port + "/v1/chat/completions";
    spill(scratch / "prompt.jinja", "{{ response }}");
  }

  std::unique_ptr<Reward> judge(std::map<std::string, std::string> more = {}) {
    more.insert({{"url", url},
                 {"model", "m"},
                 {"prompt_file", (scratch / "prompt.jinja").string()},
                 {"backoff_s", "0.01"},
                 {"timeout_s", "10"}});
    auto reward = make_reward({"own", "judge", 1.0, more});
    reward->prepare();
    return reward;
  }
};

std::string told(const Grade& grade) { return (grade.value ? nlohmann::json(*grade.value).dump() : "null") + " " + grade.reason; }

std::string told(const Reward& reward, const std::string& response,
                 const nlohmann::json& row = {{"question", "2+3?"}, {"gold", "5"}}) {
  return told(reward.grade({row, response, 3, FinishReason::kStop}));
}

}  // namespace

TEST_SUITE("rewarders/judge_reward") {
  TEST_CASE_FIXTURE(Fixture, "the last score of the reply counts, as a number or as one of the words") {
    CHECK(told(*judge(), "score 7") == "7.0 ok");
    CHECK(told(*judge(), "score -0.5") == "-0.5 ok");
    const auto words = judge({{"pattern", R"(\[\[ (\w+) \]\])"}, {"values", "safe=1, unsafe=-1"}});
    CHECK(told(*words, "word SAFE") == "1.0 ok");
    CHECK(told(*words, "word unsafe") == "-1.0 ok");
    CHECK(told(*judge({{"pattern", R"(\[\[ (\w+) \]\])"}, {"values", "safe=1"}, {"retries", "0"}}), "word unsafe") ==
          "null verifier_failed");
  }

  TEST_CASE_FIXTURE(Fixture,
                    "the template sees question, gold, response, summary and row, and the server key, temperature and tokens") {
    spill(scratch / "all.jinja",
          "{{ 'score 1' if [question, gold, response, summary, row.level] == ['2+3?', '5', '<think>a</think>b', 'b', 3] else "
          "'score 0' }}");
    const auto all = judge({{"prompt_file", (scratch / "all.jinja").string()}});
    CHECK(told(*all, "<think>a</think>b", {{"question", "2+3?"}, {"answer", "#### 5"}, {"level", 3}}) == "1.0 ok");
    CHECK(told(*all, "b", {{"gold", 5}}) == "0.0 ok");
    spill(scratch / "key", "secret\n");
    CHECK(told(*judge({{"api_key_file", (scratch / "key").string()}}), "key") == "13.0 ok");  // "Bearer secret"
    CHECK(told(*judge(), "key") == "0.0 ok");
    CHECK(told(*judge({{"temperature", "0.25"}}), "temperature") == "0.25 ok");
    CHECK(told(*judge({{"max_tokens", "77"}}), "tokens") == "77.0 ok");
  }

  TEST_CASE("over HTTPS a judge is asked whose certificate is trusted, and no other") {
    const ScratchFolder keys;
    const std::string certificate = (keys / "certificate.pem").string(), key = (keys / "key.pem").string();
    const std::string made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout " +
                             key + " -out " + certificate + " 2>/dev/null";
    REQUIRE(std::system(made.c_str()) == 0);
    Fixture fixture({certificate, key}, "https");
    CHECK(told(*fixture.judge({{"retries", "0"}}), "score 7") == "null verifier_failed");
    setenv("SSL_CERT_FILE", certificate.c_str(), 1);
    const std::string answer = told(*fixture.judge(), "score 7");
    unsetenv("SSL_CERT_FILE");
    CHECK(answer == "7.0 ok");
  }

  TEST_CASE_FIXTURE(Fixture, "what may pass is tried again, up to the retries, and never is a wrong answer") {
    CHECK(told(*judge(), "busy 3") == "1.0 ok");
    CHECK(told(*judge(), "broken 3") == "1.0 ok");
    CHECK(told(*judge({{"retries", "2"}}), "broken 3 again") == "null verifier_failed");
    CHECK(told(*judge(), "garbage") == "null verifier_failed");
    CHECK(told(*judge(), "silent") == "null verifier_failed");
    CHECK(told(*judge(), "refuse") == "null verifier_failed");
    server.end();
    CHECK(told(*judge({{"retries", "1"}}), "score 1") == "null verifier_failed");
  }

  TEST_CASE_FIXTURE(Fixture, "a server that stalls or drips is given up at the deadline") {
    const auto start = std::chrono::steady_clock::now();
    CHECK(told(*judge({{"timeout_s", "0.5"}}), "stall") == "null verifier_failed");
    CHECK(told(*judge({{"timeout_s", "0.5"}}), "drip") == "null verifier_failed");
    CHECK(told(*judge({{"timeout_s", "0.5"}, {"backoff_s", "60"}}), "busy 1") == "null verifier_failed");
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  }

  TEST_CASE_FIXTURE(Fixture, "what was answered is asked once, in memory and over processes by the file") {
    const std::string file = (scratch / "cache.jsonl").string();
    const auto reward = judge({{"cache", file}});
    CHECK(told(*reward, "echo") == "1.0 ok");
    CHECK(told(*reward, "echo") == "1.0 ok");
    CHECK(told(*judge({{"cache", file}}), "echo") == "1.0 ok");
    spill(file, slurp(file) + "\n{\"asked\": \"cut");
    CHECK(told(*judge({{"cache", file}}), "echo") == "1.0 ok");
    CHECK(told(*judge({{"cache", file}}), "score 3") == "3.0 ok");
    CHECK(told(*judge({{"cache", file}}), "score 3") == "3.0 ok");
    CHECK(told(*judge(), "echo") == "2.0 ok");
    CHECK(told(*judge({{"cache", file}, {"model", "other"}}), "echo") == "3.0 ok");
    CHECK(told(*judge({{"cache", file}}), "refuse") == "null verifier_failed");
    CHECK(slurp(file).find("refuse") == std::string::npos);
  }

  TEST_CASE_FIXTURE(Fixture, "a group's completions are judged at once, as many as concurrency says, in their order") {
    const nlohmann::json row = {{"question", "q"}};
    const std::vector<std::string> responses = {"slow 1", "slow 2", "slow 3", "score 8"};
    std::vector<GradedItem> items;
    for (const std::string& response : responses) items.push_back({row, response, 0, FinishReason::kStop});
    const auto reward = judge({{"concurrency", "3"}});
    CHECK(reward->batches());
    const std::vector<Grade> grades = reward->grade_all(items);
    REQUIRE(grades.size() == 4);
    CHECK(told(grades[0]) == "1.0 ok");
    CHECK(told(grades[3]) == "8.0 ok");
    CHECK(told(*reward, "most") == "3.0 ok");
    CHECK_FALSE(judge({{"concurrency", "1"}})->batches());
  }

  TEST_CASE_FIXTURE(Fixture, "wrong keys are refused by name") {
    CHECK_THROWS_WITH_AS(make_reward({"own", "judge", 1.0, {}}),
                         doctest::Contains("needs the keys `url`, `model` and `prompt_file`"), ConfigError);
    CHECK_THROWS_WITH_AS(judge({{"url", "127.0.0.1:80"}}), doctest::Contains("url: expected http:// or https://"), ConfigError);
    CHECK_THROWS_WITH_AS(judge({{"pattern", "(a)(b)"}}), doctest::Contains("pattern: expected one group"), ConfigError);
    CHECK_THROWS_WITH_AS(judge({{"pattern", "("}}), doctest::Contains("pattern: '(' is not a regular expression"), ConfigError);
    CHECK_THROWS_WITH_AS(judge({{"values", "safe"}}), doctest::Contains("values: expected word=number"), ConfigError);
    CHECK_THROWS_AS(judge({{"prompt_file", "/nonexistent"}}), ConfigError);
    spill(scratch / "broken.jinja", "{% if %}");
    CHECK_THROWS_WITH_AS(judge({{"prompt_file", (scratch / "broken.jinja").string()}}), doctest::Contains("broken.jinja"),
                         ConfigError);
  }
}

}  // namespace troupe
