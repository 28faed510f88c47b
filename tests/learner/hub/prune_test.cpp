#include "learner/hub/prune.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "common/base/error.h"
#include "common/config/config.h"
#include "learner/hub/audit.h"
#include "learner/hub/ledger.h"
#include "tests/common/rollout_log/scratch_folder.h"

namespace troupe::test {
namespace {

using Files = std::vector<std::uint32_t>;

GroupRecord record_of(std::uint64_t number, std::uint64_t version, Purpose purpose) {
  GroupRecord record;
  record.group = number;
  record.purpose = purpose;
  record.prompt_ids = {1};
  record.row = "{}";
  record.completions = {{0, {2, 3}, {-1.0F, -1.0F}, {version, version}, FinishReason::kStop, "x"}};
  record.scores = {{1.0, {}}};
  return record;
}

/// A run directory of one group a step, with a file of the rollout log wherever `next_file` says.
class PrunedRun {
 public:
  PrunedRun() : folder{(scratch_ / "run").string()} {
    std::filesystem::create_directories(folder.root);
    ledger_.emplace(folder.ledger());
    rollouts_.emplace(folder.rollouts());
    write(RunStarted{print_config(Config{}), "", "", "prune-test"});
    write(AttemptStarted{1, 0, 0});
  }
  void write(const LedgerRecord& record) { ledger_->append(record); }
  void next_file() { rollouts_->begin_file(); }

  /// Leases, generates and scores a group under the newest version.
  void score(std::uint64_t number, Purpose purpose = Purpose::kTrain) {
    const auto version = static_cast<std::uint64_t>(ledger_->state().last_trained_step);
    const GroupRecord record = record_of(number, version, purpose);
    const std::uint64_t lease = ++lease_;
    write(GroupLeased{number, lease, 0, purpose, version, "actor 0", 0});
    write(GroupRolledOut{number, purpose, lease, version, 2});
    write(GroupScored{number, purpose, content_hash(record), rollouts_->append(record), "rewarder 0", 1});
  }
  void train(std::int64_t step, std::uint64_t number) {
    const GroupEntry& entry = ledger_->state().groups.at(number);
    write(BatchChosen{step, {number}, {entry.hash}, {entry.place}, 1});
    write(StepTrained{step, "w" + std::to_string(step), 0});
  }
  /// Three steps with a file each, then a fourth file that is begun.
  void three_steps() {
    for (std::uint64_t step = 1; step <= 3; ++step) {
      score(step - 1);
      train(static_cast<std::int64_t>(step), step - 1);
      next_file();
    }
    score(3);
  }
  Files files() const {
    Files there;
    for (std::uint32_t file = 0; file < 9; ++file) {
      if (std::filesystem::exists(rollout_file(folder.rollouts(), file))) there.push_back(file);
    }
    return there;
  }
  PruneResult prune(std::int64_t step, const std::vector<std::int64_t>& checkpoints) {
    ledger_.reset();
    rollouts_.reset();
    PruneResult result = prune_rollouts(folder, step, checkpoints);
    ledger_.emplace(folder.ledger());
    rollouts_.emplace(folder.rollouts());
    return result;
  }

 private:
  ScratchFolder scratch_;
  std::optional<Ledger> ledger_;
  std::optional<RolloutLogWriter> rollouts_;
  std::uint64_t lease_ = 0;

 public:
  RunFolder folder;
};

}  // namespace

TEST_SUITE("hub/prune") {
  TEST_CASE("files decided before the step go, and the ledger says which") {
    PrunedRun run;
    run.three_steps();
    REQUIRE(run.files() == Files{0, 1, 2, 3});

    const PruneResult result = run.prune(3, {2, 3});

    CHECK(result.deleted == Files{0, 1});
    CHECK(result.kept == Files{2, 3});
    CHECK(result.needed_from == 3);
    CHECK(result.bytes > 0);
    CHECK(run.files() == Files{2, 3});
    const LedgerState state = read_ledger(run.folder.ledger());
    CHECK(state.pruned_files == std::set<std::uint32_t>{0, 1});
    RolloutLogReader reader(run.folder.rollouts());
    CHECK(read_batch(state, 3, reader).size() == 1);
    CHECK_THROWS_WITH_AS(read_batch(state, 2, reader), doctest::Contains("the groups of step 2 are pruned"), ConfigError);
    CHECK(run.prune(3, {2, 3}).deleted.empty());
  }

  TEST_CASE("what the oldest checkpoint needs stays, whatever the step") {
    PrunedRun run;
    run.three_steps();
    const PruneResult result = run.prune(4, {1, 3});
    CHECK(result.deleted == Files{0});
    CHECK(result.needed_from == 2);
  }

  TEST_CASE("a step that no checkpoint covers is refused, and nothing is deleted") {
    PrunedRun run;
    run.three_steps();
    CHECK_THROWS_WITH_AS(run.prune(4, {1, 2}), doctest::Contains("expected a whole checkpoint of step 3 or later"), ConfigError);
    PrunedRun bare;
    bare.three_steps();
    CHECK_THROWS_WITH_AS(bare.prune(2, {}), doctest::Contains("found none"), ConfigError);
    CHECK_THROWS_WITH_AS(bare.prune(0, {}), doctest::Contains("expected a step of at least 1"), ConfigError);
    CHECK(bare.files() == Files{0, 1, 2, 3});
  }

  TEST_CASE("one undecided group keeps its file; refused, superseded and evaluated ones do not") {
    PrunedRun run;
    run.score(0, Purpose::kEvaluate);
    run.write(Evaluated{0, 1, 1, 1});
    run.score(0);
    run.train(1, 0);
    run.score(1);
    run.write(GroupRefused{1, "stale", true});
    run.score(2);
    run.write(GroupRefused{2, "filtered", false});
    run.next_file();
    run.score(3);  // of no step yet
    run.score(1);
    run.train(2, 1);
    run.next_file();
    run.score(4);
    run.train(3, 4);
    run.next_file();
    run.score(5);

    CHECK(run.prune(4, {3}).deleted == Files{0, 2});
  }

  TEST_CASE("the newest file stays, because the next attempt goes on in it") {
    PrunedRun run;
    run.score(0);
    run.train(1, 0);
    CHECK(run.prune(2, {1}).deleted.empty());
    CHECK(run.files() == Files{0});
  }

  TEST_CASE("a finished run can be pruned, and its audit counts what it could not read") {
    PrunedRun run;
    run.three_steps();
    run.write(GroupRefused{3, "unused", false});
    run.write(RunFinished{3, "0123456789abcdef0123456789abcdef", 0});
    spill(run.folder.summary(), "{}");
    run.prune(3, {2, 3});

    const AuditResult result = audit(run.folder.root.string());

    CHECK(result.problems == std::vector<std::string>{});
    CHECK(result.finished);
    CHECK(result.groups_pruned == 2);
    CHECK(result.groups_read == 1);
    // A file that is gone without such a record is a problem.
    std::filesystem::remove(rollout_file(run.folder.rollouts(), 2));
    CHECK(audit(run.folder.root.string()).problems.size() == 1);
  }
}

}  // namespace troupe::test
