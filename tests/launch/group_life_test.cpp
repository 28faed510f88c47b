#include "launch/group_life.h"

#include <doctest/doctest.h>

#include "common/base/error.h"
#include "common/config/config.h"
#include "tests/common/rollout_log/scratch_folder.h"

using namespace troupe;
using Json = nlohmann::ordered_json;

namespace {

/// Of two completions, right and wrong; the first takes new weights after two of its three tokens.
GroupRecord record_of(std::uint64_t number, Purpose purpose) {
  GroupRecord record;
  record.group = number;
  record.purpose = purpose;
  record.prompt_ids = {5, 6};
  record.row = R"({"question": "1+1=", "answer": "2"})";
  record.completions = {{0, {2, 3, 4}, {-1.0F, -1.0F, -1.0F}, {0, 0, 1}, FinishReason::kStop, "2"},
                        {1, {7}, {-1.0F}, {1}, FinishReason::kLength, "3"}};
  record.scores = {{1.0, {{"accuracy", 1.0, "ok", 0.5}}}, {0.0, {{"accuracy", 0.0, "wrong", 0.25}}}};
  return record;
}

/// A run of which group 0 and 1 trained, 2 is filtered, 3 was leased when the attempt ended, 4 is stale and leased again, 5
/// rolled out; held-out row 7 is evaluated under versions 0 and 1.
class LivedRun {
 public:
  LivedRun() : folder{scratch_ / "run"} {
    std::filesystem::create_directories(folder.root);
    ledger_.emplace(folder.ledger());
    rollouts_.emplace(folder.rollouts());
    Config config;
    config.group.size = 2;
    config.loss.advantage = "no_std";
    config.run.max_lag = 1;
    write(RunStarted{print_config(config), "", "", "lived"});
    write(AttemptStarted{1, 0, 1});
    for (const std::uint64_t version : {0U, 1U}) evaluate(7, version);
    lease(0, "actor 0", 0, 2);
    write(LeaseLost{0, Purpose::kTrain, lease_, "actor 0: gone", 3});
    lease(0, "actor 1", 1, 4.25);
    score(0, 5, 6);
    lease(1, "actor 1", 0, 0);
    score(1, 0, 0);
    lease(2, "actor 1", 0, 0);
    score(2, 0, 0);
    write(GroupRefused{2, "filtered", false, 7});
    choose(1, {1, 0});
    write(StepTrained{1, "w", 8});
    lease(3, "actor 1", 0, 9);
    write(AttemptStarted{2, 0, 10});
    write(StepTrained{1, "w", 11});
    lease(4, "actor 2", 0, 12);
    write(GroupRolledOut{4, Purpose::kTrain, lease_, 0, 4, 13});
    write(GroupRefused{4, "stale", true, 14});
    lease(4, "actor 2", 1, 15);
    lease(5, "actor 2", 0, 16);
    write(GroupRolledOut{5, Purpose::kTrain, lease_, 1, 4, 17});
  }

  void write(const LedgerRecord& record) { ledger_->append(record); }
  void lease(std::uint64_t number, const std::string& actor, std::uint32_t attempt, double unix_s, Purpose purpose = Purpose::kTrain,
             std::uint64_t version = 0) {
    write(GroupLeased{number, ++lease_, attempt, purpose, version, actor, unix_s});
  }
  void score(std::uint64_t number, double out_s, double scored_s, Purpose purpose = Purpose::kTrain) {
    const GroupRecord record = record_of(number, purpose);
    write(GroupRolledOut{number, purpose, lease_, 0, 4, out_s});
    write(GroupScored{number, purpose, content_hash(record), rollouts_->append(record), "rewarder 0", 0.5, scored_s});
  }
  void evaluate(std::uint64_t row, std::uint64_t version) {
    lease(row, "actor 0", 0, 0, Purpose::kEvaluate, version);
    score(row, 0, 0, Purpose::kEvaluate);
    write(Evaluated{version, 0.5, 0.5, 8});
  }
  void choose(std::int64_t step, const std::vector<std::uint64_t>& groups) {
    BatchChosen batch{step, groups, {}, {}, 1};
    for (const std::uint64_t number : groups) {
      batch.hashes.push_back(ledger_->state().groups.at(number).hash);
      batch.places.push_back(ledger_->state().groups.at(number).place);
    }
    write(batch);
  }
  void prune() { write(LogsPruned{1, {0}, 20}); }

  Json life(std::uint64_t group, std::optional<std::uint64_t> evaluation = {}) const {
    return group_life(folder, ledger_->state(), group, evaluation);
  }
  std::string text(std::uint64_t group) const { return group_life_text(life(group)); }
  const LedgerState& ledger() const { return ledger_->state(); }

 private:
  ScratchFolder scratch_;

 public:
  RunFolder folder;

 private:
  std::optional<Ledger> ledger_;
  std::optional<RolloutLogWriter> rollouts_;
  std::uint64_t lease_ = 0;
};

std::vector<std::string> events_of(const Json& life) {
  std::vector<std::string> events;
  for (const Json& entry : life["life"]) events.push_back(entry["event"]);
  return events;
}

using Words = std::vector<std::string>;

}  // namespace

TEST_SUITE("launch/group_life") {
  TEST_CASE("a trained group's life has every event with its peer, time and numbers, in order") {
    const LivedRun run;
    const GroupEntry& entry = run.ledger().groups.at(0);
    const Json life = run.life(0);

    CHECK(life["state"] == "trained");
    CHECK(life["step"] == 1);
    CHECK(!life.contains("why"));
    CHECK(life["life"] == Json::parse(R"([
      {"event": "leased", "at": "1970-01-01T00:00:02.000Z", "to": "actor 0", "attempt": 0, "policy_version": 0, "lease_id": 3},
      {"event": "lease_lost", "at": "1970-01-01T00:00:03.000Z", "reason": "actor 0: gone", "lease_id": 3},
      {"event": "leased", "at": "1970-01-01T00:00:04.250Z", "to": "actor 1", "attempt": 1, "policy_version": 0, "lease_id": 4},
      {"event": "rolled_out", "at": "1970-01-01T00:00:05.000Z", "tokens": 4, "lowest_version": 0, "lease_id": 4},
      {"event": "scored", "at": "1970-01-01T00:00:06.000Z", "by": "rewarder 0", "mean_reward": 0.5, "hash": ")" + entry.hash + R"(",
       "file": 0, "offset": )" + std::to_string(entry.place.offset) + R"(},
      {"event": "chosen", "step": 1, "place": 1},
      {"event": "trained", "at": "1970-01-01T00:00:08.000Z", "step": 1},
      {"event": "rolled_forward", "at": "1970-01-01T00:00:11.000Z", "step": 1}])"));
  }

  TEST_CASE("completions have the versions of their tokens, rewards by component, and the advantage of a chosen group") {
    const LivedRun run;
    const Json life = run.life(0);

    CHECK(life["row"] == Json::parse(R"({"question": "1+1=", "answer": "2"})"));
    CHECK(life["prompt"] == Json::parse("[5, 6]"));  // the model is no longer there to decode them
    CHECK(life["completions"] == Json::parse(R"([
      {"sample": 0, "tokens": 3, "finish_reason": "stop",
       "versions": [{"from": 0, "to": 1, "version": 0}, {"from": 2, "to": 2, "version": 1}], "reward": 1.0,
       "components": {"accuracy": {"value": 1.0, "reason": "ok", "ms": 0.5}}, "advantage": 0.5, "text": "2"},
      {"sample": 1, "tokens": 1, "finish_reason": "length", "versions": [{"from": 0, "to": 0, "version": 1}], "reward": 0.0,
       "components": {"accuracy": {"value": 0.0, "reason": "wrong", "ms": 0.25}}, "advantage": -0.5, "text": "3"}])"));
    const Json refused = run.life(2);
    CHECK(refused["completions"].size() == 2);
    CHECK(!refused["completions"][0].contains("advantage"));
  }

  TEST_CASE("each state has its word, and a refusal its reason") {
    const LivedRun run;
    CHECK(run.life(2)["state"] == "refused as filtered");
    CHECK(run.life(2)["why"] == "its rewards are all equal, and batch.dynamic_sampling = true");
    CHECK(run.life(3)["state"] == "open");
    CHECK(events_of(run.life(3)) == Words{"leased", "attempt_started"});
    CHECK(run.life(4)["state"] == "leased");
    CHECK(events_of(run.life(4)) == Words{"leased", "rolled_out", "refused_and_leased_again", "leased"});
    CHECK(!run.life(4).contains("why"));
    CHECK(run.life(5)["state"] == "rolled_out");
    CHECK(!run.life(5).contains("completions"));
  }

  TEST_CASE("a held-out row has a life in each evaluation, apart from the training group of that number") {
    const LivedRun run;
    const Json life = run.life(7, 1);
    CHECK(life["purpose"] == "evaluate");
    CHECK(life["version"] == 1);
    CHECK(life["state"] == "evaluated");
    CHECK(events_of(life) == Words{"leased", "rolled_out", "scored", "evaluated"});
    CHECK(life["life"][0]["policy_version"] == 1);
    CHECK(life["completions"].size() == 2);
  }

  TEST_CASE("what was pruned is said so") {
    LivedRun run;
    run.prune();
    const Json life = run.life(0);
    CHECK(life["note"] == "its completions are pruned");
    CHECK(!life.contains("completions"));
    CHECK(life["life"].size() == 8);
  }

  TEST_CASE("a group that is not there is an error that says which are") {
    const LivedRun run;
    CHECK_THROWS_WITH_AS(run.life(6), "--group 6: no such group; leased were 0 to 5", ConfigError);
    CHECK_THROWS_WITH_AS(run.life(6, 1),
                         "--group 6 --evaluation 1: no such row; evaluated versions are 0 (rows 0 to 7), 1 (rows 0 to 7)", ConfigError);
    CHECK_THROWS_AS(run.life(7), ConfigError);
    CHECK_THROWS_AS(run.life(0, 0), ConfigError);
  }

  TEST_CASE("for people it is a line an event, then the completions") {
    const LivedRun run;
    const std::string text = run.text(0);
    CHECK(text.starts_with("group 0: trained at step 1\n  1970-01-01T00:00:02.000Z  leased  to=actor 0  attempt=0  policy_version=0"));
    CHECK(text.find("\n                            chosen  step=1  place=1\n") != std::string::npos);
    CHECK(text.find("\n--- sample 1: reward 0.0, advantage -0.5, accuracy 0.0 (wrong), 1 tokens, finish length, tokens 0-0 by version 1\n3\n") !=
          std::string::npos);
    CHECK(run.text(2).starts_with("group 2: refused as filtered (its rewards are all equal, and batch.dynamic_sampling = true)\n"));
    CHECK(group_life_text(run.life(7, 0)).starts_with("held-out row 7 in the evaluation of version 0: evaluated\n"));
  }
}
