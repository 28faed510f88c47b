#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "common/config/config.h"
#include "common/config/run_folder.h"
#include "common/messages/messages.h"
#include "common/rollout_log/rollout_log.h"
#include "learner/hub/ledger.h"

namespace troupe {

/// A run directory as a replay sees it: nothing in it is written and no lock is taken, so that a run that goes on can be
/// replayed too. Everything that it returns has been checked against the ledger. One thread at a time.
class RecordedRun {
 public:
  /// @throws ConfigError naming file and offset where the ledger is missing or damaged, or its configuration does not have
  /// the hash that stands beside it, or naming the `changes` ("section.key=value") to it that is bad.
  explicit RecordedRun(const std::filesystem::path& root, const std::vector<std::string>& changes = {});

  const RunFolder& folder() const { return folder_; }
  const LedgerState& ledger() const { return ledger_; }

  /// What the ledger says of a trained step. @throws ConfigError where it was not trained, naming the steps that were.
  const StepTrained& step(std::int64_t step) const;

  /// The configuration that the step was trained under: learners.count and run.steps are those of the attempt that did it.
  /// Changes that change no number (model.path, threads …) are made, the others are not.
  Config config_of(std::int64_t step) const;
  /// The same with all changes.
  Config changed_config_of(std::int64_t step) const;
  /// Whether these two may differ.
  bool changed() const { return !changes_.empty(); }

  /// The step's groups in batch order. The files of the rollout log that they are in are checked whole. @throws ConfigError
  /// naming the step, and file and offset of what is missing, corrupt or not what the ledger names.
  std::vector<GroupRecord> batch(std::int64_t step);

  /// The newest version up to `version` that has a checkpoint; 0, the initial weights, where none has.
  std::int64_t start_for(std::int64_t version) const;

 private:
  Config config_with(std::int64_t step, const std::vector<std::string>& changes) const;

  RunFolder folder_;
  LedgerState ledger_;
  std::vector<std::string> harmless_changes_;  // overrides of the configuration
  std::vector<std::string> changes_;           // that change numbers
  RolloutLogReader rollouts_;
  std::set<std::uint32_t> checked_files_;  // of the rollout log
};

}  // namespace troupe
