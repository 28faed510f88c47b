#include "learner/replay/recorded_run.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "common/base/error.h"
#include "common/rollout_log/rollout_log.h"
#include "tests/common/rollout_log/scratch_folder.h"

using namespace troupe;

namespace {

namespace fs = std::filesystem;

/// A run that trained step 1, chose the batch of step 2 and recorded `config`.
struct Run {
  explicit Run(const std::string& config = print_config(Config()), const std::string& hash = config_hash(Config())) {
    RolloutLogWriter log(root / "rollouts");
    Ledger ledger(root / "ledger.log");
    ledger.append(RunStarted{config, hash, "whash", "run"});
    ledger.append(AttemptStarted{1, 0, 0});
    for (std::uint64_t group = 0; group < 2; ++group) {
      GroupRecord record;
      record.group = group;
      record.prompt_ids = {1, 2};
      record.row = "{}";
      record.completions = {{0, {3}, {-0.5F}, {0}, FinishReason::kStop, "x"}};
      record.scores = {{1.0, {}}};
      const RolloutPlace place = log.append(record);
      const std::int64_t step = static_cast<std::int64_t>(group) + 1;
      ledger.append(GroupLeased{group, group + 1, 0, Purpose::kTrain, 0, "actor", 0});
      ledger.append(GroupRolledOut{group, Purpose::kTrain, group + 1, 0, 1});
      ledger.append(GroupScored{group, Purpose::kTrain, content_hash(record), place, "rewarder", 1});
      ledger.append(BatchChosen{step, {group}, {content_hash(record)}, {place}, 3});
      if (step == 1) ledger.append(StepTrained{1, "w1", 0, 0.5, 0.25, 3, 77, {}});
    }
    log.sync();
    ledger.sync();
  }

  const ScratchFolder folder;
  const fs::path root = folder / "run";
};

std::string refused(const fs::path& root, const std::vector<std::string>& changes = {}, std::int64_t step = 1) {
  try {
    RecordedRun run(root, changes);
    run.step(step);
    run.batch(step);
    return "";
  } catch (const ConfigError& error) {
    return error.what();
  }
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void flip_byte(const fs::path& path, std::streamoff at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const char byte = static_cast<char>(file.get());
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 1));
}

}  // namespace

TEST_SUITE("learner/replay/recorded_run") {
  TEST_CASE("a step's configuration has the ranks and the number of steps that it was trained under") {
    const Run run;
    RecordedRun recorded(run.root);
    const Config config = recorded.config_of(1);
    CHECK(config.learners.count == 3);
    CHECK(config.run.steps == 77);
    CHECK(recorded.batch(1).front().group == 0);
    CHECK(!recorded.changed());
    CHECK(recorded.changed_config_of(1) == config);
  }

  TEST_CASE("changes that change no number are always made, the others only where asked for") {
    const Run run;
    const RecordedRun harmless(run.root, {"learners.threads=5"});
    CHECK(!harmless.changed());
    CHECK(harmless.config_of(1).learners.threads == 5);
    const RecordedRun changed(run.root, {"loss.clip_high=0.5", "run.steps=99"});
    CHECK(changed.changed());
    CHECK(changed.config_of(1).loss.clip_high == 0.2);
    CHECK(changed.config_of(1).run.steps == 77);
    CHECK(changed.changed_config_of(1).loss.clip_high == 0.5);
    CHECK(changed.changed_config_of(1).run.steps == 99);
  }

  TEST_CASE("bad changes and steps that were not trained are named") {
    const Run run;
    CHECK(refused(run.root) == "");
    CHECK(has(refused(run.root, {"loss.clip_hig=1"}), "loss.clip_high"));
    CHECK(has(refused(run.root, {"loss"}), "--set loss: expected section.key=value"));
    CHECK(has(refused(run.root, {"loss.clip_high"}), "--set loss.clip_high: expected section.key=value"));
    CHECK(refused(run.root, {}, 0) == "--step 0: expected 1 to 1, the steps that the run has trained");
    CHECK(refused(run.root, {}, 3) == "--step 3: expected 1 to 1, the steps that the run has trained");
    CHECK(has(refused(run.root, {}, 2), "--step 2: its batch was chosen, but the run has not finished training it"));
    CHECK(has(refused(run.root / "nowhere"), "found no ledger.log"));
  }

  TEST_CASE("a configuration that does not have its hash is refused") {
    Config other;
    other.optimizer.lr = 0.5;
    const Run run(print_config(other), config_hash(Config()));
    CHECK(has(refused(run.root), config_hash(other)));
    CHECK(has(refused(run.root), "ledger.log"));
  }

  TEST_CASE("damage in a file of the rollout log is found by any step that has groups in it, and named") {
    for (const std::int64_t step : {1, 2}) {
      const Run run;
      const fs::path log = run.root / "rollouts" / "000000.log";
      flip_byte(log, static_cast<std::streamoff>(fs::file_size(log)) - 3);  // in the second group's frame
      RecordedRun recorded(run.root);
      std::string error;
      try {
        recorded.batch(step);
      } catch (const ConfigError& e) {
        error = e.what();
      }
      CHECK(has(error, "the recorded groups of step " + std::to_string(step) + ": " + log.string() + ": corrupt at offset "));
    }
    const Run run;
    fs::remove_all(run.root / "rollouts");
    CHECK(has(refused(run.root), "000000.log"));
  }

  TEST_CASE("groups whose logs were pruned are said to be so") {
    const Run run;
    fs::remove(run.root / "rollouts" / "000000.log");
    Ledger(run.root / "ledger.log").append(LogsPruned{2, {0}, 0});
    CHECK(has(refused(run.root), "the groups of step 1 are pruned"));
  }

  TEST_CASE("it starts from the newest complete checkpoint that is not too new") {
    const Run run;
    for (const char* name : {"step-2", "step-5", "step-9"}) fs::create_directories(run.root / "checkpoints" / name);
    for (const char* name : {"step-2", "step-9"}) std::ofstream(run.root / "checkpoints" / name / "DONE") << "x";
    const RecordedRun recorded(run.root);
    CHECK(recorded.start_for(1) == 0);
    CHECK(recorded.start_for(2) == 2);
    CHECK(recorded.start_for(8) == 2);
    CHECK(recorded.start_for(9) == 9);
  }
}
