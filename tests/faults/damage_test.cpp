#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <random>

#include "common/base/error.h"
#include "learner/checkpoint.h"
#include "learner/hub/audit.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/faults/live_run.h"
#include "tests/learner/temporary_folder.h"
#include "tests/learner/tiny_model.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kSeed = 20261122;
constexpr int kFlips = 500;

/// The directory of a run in the middle of its life: a ledger and a rollout log of four steps as hub, actor and rewarder wrote
/// them, and checkpoints of steps 2 and 4 by two ranks.
class DamagedRun {
 public:
  DamagedRun() {
    testing::LiveRun run;
    run.add_actor();
    (void)run.train();
    run.hub().close(0, "test over", false);
    fs::copy(run.folder(), root_.path(), fs::copy_options::recursive);
    for (const std::string& error : run_ranks(2, 30, [&](Communicator& ranks) { save(ranks); })) REQUIRE(error == "");
  }
  fs::path operator/(const std::string& name) const { return root_.path() / name; }

  /// What is wrong, as `troupe inspect --audit` finds it; "" where nothing is.
  std::string audited() const {
    try {
      const AuditResult result = audit(root_.path().string());
      if (!result.problems.empty()) return result.problems.front();
      for (const std::int64_t step : complete_checkpoints(root_.path() / "checkpoints")) {
        if (const auto damage = find_damage(checkpoint_folder(root_.path() / "checkpoints", step))) return *damage;
      }
      return "";
    } catch (const ConfigError& error) {
      return error.what();
    }
  }

  /// What stops a start that would train from here, or "": as learner rank 0 reads ledger, rollouts and checkpoints.
  std::string refused() const {
    try {
      const Ledger ledger(*this / "ledger.log");
      const RolloutLogWriter rollouts(*this / "rollouts");
      RolloutLogReader reader(*this / "rollouts");
      for (const auto& [step, batch] : ledger.state().batches) (void)read_batch(ledger.state(), step, reader);
      return "";
    } catch (const ConfigError& error) {
      return error.what();
    }
  }

 private:
  void save(Communicator& ranks) const {
    const Parameters parameters(tiny_architecture(), at::kFloat);
    ShardedOptimizer optimizer(parameters, tiny_start(parameters.layout()), OptimizerConfig(), 10, ranks);
    for (std::int64_t step = 1; step <= 4; ++step) {
      optimizer.step(tiny_gradient(parameters.layout(), step), step);
      if (step % 2 != 0) continue;
      save_checkpoint(root_.path() / "checkpoints", {step, "config", 0}, optimizer,
                      [](const fs::path& folder) { put_file(folder / "hf" / "config.json", "{\"a\": 1}"); });
    }
  }

  TemporaryFolder root_;
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

TEST_SUITE("faults/damage") {
  TEST_CASE("each of 500 flipped bits in ledger, rollout log and checkpoints is found by file and offset, and never trained from") {
    const DamagedRun run;
    REQUIRE(run.audited() == "");
    REQUIRE(run.refused() == "");
    std::vector<fs::path> checkpoint_files = files_of(run / "checkpoints");
    const std::vector<std::vector<fs::path>> kinds = {{run / "ledger.log"}, files_of(run / "rollouts"), checkpoint_files};
    std::mt19937 random(kSeed);
    MESSAGE("seed " << kSeed);

    int found = 0;
    int kept_out = 0;
    for (int i = 0; i < kFlips; ++i) {
      const std::size_t kind = static_cast<std::size_t>(i) % kinds.size();
      const fs::path& file = kinds[kind][random() % kinds[kind].size()];
      const std::size_t offset = random() % fs::file_size(file);
      const unsigned bit = random() % 8;
      flip_bit(file, offset, bit);

      const std::string damage = run.audited();
      // DONE and MANIFEST.json vouch for one another: either may be the wrong one.
      const std::string name = file.filename() == "DONE" ? (file.parent_path() / "MANIFEST.json").string() : file.string();
      const bool named = contains(damage, name) && contains(damage, "offset ");
      CHECK_MESSAGE(named, file << " at " << offset << " bit " << bit << ": \"" << damage << '"');
      found += named ? 1 : 0;
      if (kind == 2) {
        kept_out += find_damage(run / ("checkpoints/" + fs::relative(file, run / "checkpoints").begin()->string())) ? 1 : 0;
      } else {
        kept_out += contains(run.refused(), file.string()) ? 1 : 0;
      }
      flip_bit(file, offset, bit);
    }

    CHECK(found == kFlips);
    CHECK(kept_out == kFlips);
    CHECK(run.audited() == "");
  }

  TEST_CASE("a file that is cut, missing or that of another step is named, and so is a DONE without the rest") {
    const DamagedRun run;
    const fs::path newest = run / "checkpoints/step-4";
    int cases = 0;
    for (const fs::path& file : files_of(newest)) {
      if (file.filename() == "DONE") continue;  // without it the checkpoint does not count as one
      const fs::path aside = run / "aside";
      const fs::path other = (run / "checkpoints/step-2") / fs::relative(file, newest);
      fs::copy_file(file, aside, fs::copy_options::overwrite_existing);
      const auto expect_named = [&](const char* what) {
        ++cases;
        CHECK_MESSAGE(contains(run.audited(), file.string()), what << ' ' << file << ": " << run.audited());
        CHECK(find_damage(newest));
        fs::copy_file(aside, file, fs::copy_options::overwrite_existing);
      };

      fs::resize_file(file, fs::file_size(file) - 1);
      expect_named("cut by a byte");
      fs::resize_file(file, 0);
      expect_named("emptied");
      fs::remove(file);
      expect_named("missing");
      if (file.filename() == "config.json") continue;  // the same in every step
      fs::copy_file(other, file, fs::copy_options::overwrite_existing);
      expect_named("of step 2");
    }
    CHECK(cases == 15);

    fs::remove(run / "aside");
    for (const fs::path& file : files_of(newest)) {
      if (file.filename() != "DONE") fs::remove(file);
    }
    CHECK(contains(run.audited(), (newest / "MANIFEST.json").string()));
    fs::remove_all(newest);
    fs::rename(run / "checkpoints/step-2", newest);
    CHECK(contains(run.audited(), "it is the manifest of step 2"));
  }

  TEST_CASE("a rollout log that is cut, missing or another run's is named before anything is trained from it") {
    const DamagedRun run;
    const fs::path log = run / "rollouts/000000.log";
    fs::copy_file(log, run / "aside");
    fs::resize_file(log, fs::file_size(log) / 2);
    CHECK(contains(run.audited(), log.string() + ": corrupt at offset "));
    CHECK(contains(run.refused(), log.string() + ": corrupt at offset "));

    fs::remove(log);
    CHECK(contains(run.audited(), log.string()));
    CHECK(contains(run.refused(), log.string()));

    // Groups of the same numbers and lengths, but other ones.
    testing::LiveRun other;
    other.add_actor();
    (void)other.train();
    other.hub().close(0, "test over", false);
    RolloutLogReader reader(other.folder() / "rollouts");
    fs::remove_all(run / "rollouts");
    RolloutLogWriter writer(run / "rollouts");
    const LedgerState state = read_ledger(other.folder() / "ledger.log");
    for (std::int64_t step = 1; step <= 4; ++step) {
      for (GroupRecord record : read_batch(state, step, reader)) {
        record.completions.front().logprobs.front() -= 1;
        writer.append(record);
      }
    }
    writer.sync();
    CHECK(run.audited() != "");
    CHECK(run.refused() != "");
  }
}

}  // namespace
}  // namespace troupe
