#include "learner/hub/audit.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "common/base/error.h"
#include "common/config/run_folder.h"
#include "tests/learner/hub/hub_world.h"

namespace troupe::test {
namespace {

/// A run directory written record by record, past the ledger's own checks.
class WrittenRun {
 public:
  WrittenRun() : writer_(folder_ / "ledger.log"), rollouts_(folder_ / "rollouts") {
    write(RunStarted{print_config(Config{}), "", "", run_id()});
    write(AttemptStarted{1, 0, 0});
  }
  static std::string run_id() { return "audit-test-" + std::to_string(::getpid()); }

  void write(const LedgerRecord& record) {
    writer_.append(static_cast<std::uint16_t>(record.index() + 1), to_json_text(record));
  }
  /// Leases and scores the group; its batch entry.
  void group(std::uint64_t number, std::uint64_t version = 0) {
    GroupRecord record;
    record.group = number;
    record.prompt_ids = {1};
    record.row = "{}";
    record.completions = {{0, {2, 3}, {-1.0F, -1.0F}, {version, version + 1}, FinishReason::kStop, "x"}};
    record.scores = {{1.0, {}}};
    places_[number] = rollouts_.append(record);
    hashes_[number] = content_hash(record);
    write(GroupLeased{number, number, 0, Purpose::kTrain, version, "actor 0", 0});
  }
  void step(std::int64_t step, const std::vector<std::uint64_t>& groups) {
    BatchChosen batch;
    batch.step = step;
    batch.groups = groups;
    for (const std::uint64_t number : groups) {
      batch.hashes.push_back(hashes_[number]);
      batch.places.push_back(places_[number]);
    }
    write(batch);
    write(StepTrained{step, "w" + std::to_string(step), 0});
  }
  void touch(const std::string& name) { std::ofstream(folder_ / name) << "x"; }
  /// Lets the batch records name another hash, and place, than the group's.
  void forge(std::uint64_t number, const std::string& hash, std::optional<RolloutPlace> place) {
    hashes_[number] = hash;
    if (place) places_[number] = *place;
  }
  void finish(std::int64_t steps) {
    write(RunFinished{steps, "0123456789abcdef0123456789abcdef", 0});
    touch("summary.json");
  }
  AuditResult audited() { return audit((folder_ / "").string()); }

  ScratchFolder folder_;

 private:
  FramedFileWriter writer_;
  RolloutLogWriter rollouts_;
  std::map<std::uint64_t, RolloutPlace> places_;
  std::map<std::uint64_t, std::string> hashes_;
};

using Lines = std::vector<std::string>;

TEST_SUITE("hub/audit") {
  TEST_CASE("a balanced run has no problems and its counts add up") {
    WrittenRun run;
    for (const std::uint64_t group : {0U, 1U, 2U, 3U}) run.group(group);
    run.write(GroupRefused{3, "stale", true});
    run.write(GroupRefused{1, "filtered", false});
    run.step(1, {0, 2});
    run.write(StepTrained{1, "w1", 0});
    run.write(GroupRefused{3, "unused", false});
    run.finish(1);

    const AuditResult result = run.audited();

    CHECK(result.problems == Lines{});
    CHECK(result.finished);
    CHECK(result.final_hash == "0123456789abcdef0123456789abcdef");
    CHECK(result.steps == 1);
    CHECK(result.exact_steps == 1);
    CHECK(result.groups_leased == 4);
    CHECK(result.groups_trained == 2);
    CHECK(result.groups_open == 0);
    CHECK(result.groups_refused == std::map<std::string, std::int64_t>{{"filtered", 1}, {"unused", 1}});
    CHECK(result.groups_refused_again == std::map<std::string, std::int64_t>{{"stale", 1}});
  }

  TEST_CASE("a run of the real hub, stopped in the middle, has no problems") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    auto rewarder = world.join(Role::kRewarder, "rewarder 0");
    world.work(*actor, *rewarder);
    world.core->take_batch(1);
    world.core->append(StepTrained{1, "w", 0});
    world.core->publish(weights_of(1));
    world.pump();

    const AuditResult result = audit((world.folder / "").string());

    CHECK(result.problems == Lines{});
    CHECK_FALSE(result.finished);
    CHECK(result.groups_trained == 2);
    CHECK(result.groups_open == 2);
  }

  TEST_CASE("I1: a group without a final state, with two of them, or leased after one") {
    WrittenRun run;
    for (const std::uint64_t group : {0U, 1U, 2U}) run.group(group);
    run.step(1, {0});
    run.write(GroupRefused{0, "unused", false});
    run.write(GroupRefused{1, "failed", false});
    run.write(GroupLeased{1, 9, 1, Purpose::kTrain, 0, "actor 0", 0});
    run.write(GroupRefused{7, "unused", false});
    run.finish(1);
    CHECK(run.audited().problems == Lines{"I1: group 0 was refused as unused, but had ended as trained",
                                          "I1: group 1 was leased after it was failed",
                                          "I1: group 7 was refused as unused but never leased",
                                          "I1: the run ended while group 2 had no final state"});
  }

  TEST_CASE("I2: a group in two steps") {
    WrittenRun run;
    run.group(0);
    run.step(1, {0});
    run.step(2, {0});
    const auto problems = run.audited().problems;
    CHECK(std::find(problems.begin(), problems.end(), "I2: group 0 is in steps 1 and 2") != problems.end());
  }

  TEST_CASE("I3: a batch whose bytes in the rollout log have another hash, or cannot be read") {
    WrittenRun run;
    run.group(0);
    run.group(1);
    run.forge(0, "another hash", std::nullopt);
    run.forge(1, "another hash", RolloutPlace{0, 7, 9});
    run.step(1, {0, 1});

    const auto problems = run.audited().problems;

    REQUIRE(problems.size() == 2);
    CHECK(problems[0].starts_with(
        "I3: group 0 of step 1: the ledger names hash another hash, the rollout log has group 0 with hash "));
    CHECK(problems[1].starts_with("I3: group 1 of step 1: "));
  }

  TEST_CASE("I4: a lag above run.max_lag, by the lowest version of its tokens") {
    WrittenRun run;
    run.group(0);
    run.group(1);
    run.step(1, {0});
    run.step(2, {1});
    CHECK(run.audited().problems == Lines{"I4: group 1 of step 2: its lag is 1, expected 0 to 0"});
  }

  TEST_CASE("I5: steps that are not consecutive, or trained without a batch") {
    WrittenRun run;
    run.group(0, 1);
    run.step(2, {0});
    run.write(StepTrained{4, "", 0});
    CHECK(run.audited().problems == Lines{"I5: the batch of step 2 follows that of step 0",
                                          "I5: step 2 was trained after step 0", "I5: step 4 was trained after step 2",
                                          "I5: step 4 was trained without a batch record"});
  }

  TEST_CASE("I6: temporary files and shared memory count once the run is finished") {
    WrittenRun run;
    std::filesystem::create_directory(run.folder_ / "checkpoints");
    run.touch("checkpoints/.tmp-step-1-42");
    const std::string shared_memory = "/dev/shm/troupe-" + WrittenRun::run_id() + "-0";
    std::ofstream(shared_memory) << "x";
    CHECK(run.audited().problems == Lines{});
    run.finish(0);

    auto problems = run.audited().problems;
    std::filesystem::remove(shared_memory);

    std::sort(problems.begin(), problems.end());
    REQUIRE(problems.size() == 2);
    CHECK(problems[0] == "I6: the shared memory " + shared_memory + " was left behind");
    CHECK(problems[1].ends_with("checkpoints/.tmp-step-1-42 was left behind"));
  }

  TEST_CASE("I7: the end record and summary.json come together") {
    WrittenRun run;
    run.touch("summary.json");
    CHECK(run.audited().problems == Lines{"I7: there is a summary.json, but the ledger has no end record"});
    run.finish(0);
    std::filesystem::remove(run.folder_ / "summary.json");
    CHECK(run.audited().problems == Lines{"I7: the ledger has its end record, but there is no summary.json"});
  }

  TEST_CASE("a step that came out otherwise when rolled forward bounds the exact steps") {
    WrittenRun run;
    run.group(0);
    run.group(1, 1);
    run.step(1, {0});
    run.step(2, {1});
    run.write(StepTrained{2, "other", 0});
    const AuditResult result = run.audited();
    CHECK(result.problems == Lines{});
    CHECK(result.exact_steps == 1);
  }

  TEST_CASE("a folder without a ledger is an error that names it") {
    const ScratchFolder folder;
    CHECK_THROWS_AS(audit((folder / "nothing").string()), ConfigError);
  }
}

}  // namespace
}  // namespace troupe::test
