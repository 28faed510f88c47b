#include "learner/replay/recorded_run.h"

#include "common/base/error.h"
#include "learner/checkpoint_folder.h"

namespace troupe {
namespace {

LedgerState ledger_of(const RunFolder& folder) {
  if (!std::filesystem::exists(folder.ledger())) {
    throw ConfigError(folder.root.string() + ": expected a run directory, found no ledger.log in it");
  }
  LedgerState state = read_ledger(folder.ledger());
  if (!state.started) throw ConfigError(folder.ledger().string() + ": expected a run_started record, found none");
  return state;
}

std::string where_of(const RunFolder& folder) { return folder.ledger().string() + ": the run's configuration"; }

Config config_with_overrides(const RunFolder& folder, const LedgerState& ledger, const std::vector<std::string>& overrides) {
  return parse_config(ledger.started->config, where_of(folder), overrides);
}

}  // namespace

RecordedRun::RecordedRun(const std::filesystem::path& root, const std::vector<std::string>& changes)
    : folder_{root}, ledger_(ledger_of(folder_)), rollouts_(folder_.rollouts()) {
  const Config own = config_with_overrides(folder_, ledger_, {});
  if (config_hash(own) != ledger_.started->config_hash) {
    throw ConfigError(where_of(folder_) + " has hash " + config_hash(own) + ", the record says " + ledger_.started->config_hash +
                      ": it was changed, or another version of troupe wrote it");
  }
  for (const std::string& change : changes) {
    if (change.find('.') == std::string::npos || change.find('=') == std::string::npos) {
      throw ConfigError("--set " + change + ": expected section.key=value");
    }
    const Config with = config_with_overrides(folder_, ledger_, {"--" + change});
    const bool harmless = config_differences(own, with).empty() && with.run.steps == own.run.steps;
    (harmless ? harmless_changes_ : changes_).push_back("--" + change);
  }
}

const StepTrained& RecordedRun::step(std::int64_t step) const {
  const auto found = ledger_.trained.find(step);
  if (found != ledger_.trained.end()) return found->second;
  const std::string what = "--step " + std::to_string(step) + ": ";
  const std::int64_t last = ledger_.last_trained_step;
  if (step >= 1 && step <= ledger_.last_chosen_step) {
    throw ConfigError(what + "its batch was chosen, but the run has not finished training it; trained are " + std::to_string(last) +
                      " steps");
  }
  throw ConfigError(what + (last == 0 ? "the run has not trained any step yet"
                                      : "expected 1 to " + std::to_string(last) + ", the steps that the run has trained"));
}

Config RecordedRun::config_with(std::int64_t number, const std::vector<std::string>& changes) const {
  const StepTrained& record = step(number);
  std::vector<std::string> overrides = harmless_changes_;
  overrides.insert(overrides.end(), changes.begin(), changes.end());
  Config config = config_with_overrides(folder_, ledger_, overrides);
  if (config.run.steps == config_with_overrides(folder_, ledger_, {}).run.steps) config.run.steps = record.run_steps;
  config.learners.count = static_cast<int>(record.world_size);
  return config;
}

Config RecordedRun::config_of(std::int64_t step) const { return config_with(step, {}); }

Config RecordedRun::changed_config_of(std::int64_t step) const { return config_with(step, changes_); }

std::vector<GroupRecord> RecordedRun::batch(std::int64_t step) {
  const auto chosen = ledger_.batches.find(step);
  try {
    if (chosen != ledger_.batches.end()) {
      for (const RolloutPlace& place : chosen->second.places) {
        if (ledger_.pruned_files.contains(place.file)) continue;  // read_batch says so
        if (checked_files_.insert(place.file).second) rollouts_.check_file(place.file);
      }
    }
    return read_batch(ledger_, step, rollouts_);
  } catch (const ConfigError& error) {
    throw ConfigError("the recorded groups of step " + std::to_string(step) + ": " + error.what());
  }
}

std::int64_t RecordedRun::start_for(std::int64_t version) const {
  std::int64_t newest = 0;
  for (const std::int64_t step : complete_checkpoints(folder_.checkpoints())) {
    if (step <= version) newest = step;
  }
  return newest;
}

}  // namespace troupe
