#include "learner/stages/run_record.h"

#include <random>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/text.h"
#include "learner/stages/version_text.h"

namespace troupe {
namespace {

std::string new_run_id() {
  std::random_device entropy;
  static constexpr char kHex[] = "0123456789abcdef";
  std::string id;
  for (int i = 0; i < 12; ++i) id += kHex[entropy() % 16];
  return id;
}

std::optional<double> accuracy_at(const LedgerState& state, std::uint64_t version) {
  for (const Evaluated& evaluated : state.evaluations) {
    if (evaluated.version == version) return evaluated.accuracy;
  }
  return std::nullopt;
}

nlohmann::ordered_json number_or_null(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

}  // namespace

std::filesystem::path made_run_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw ConfigError("--run-dir " + folder.string() + ": cannot be made: " + error.message());
  return folder;
}

void clear_temporary_files(const RunFolder& folder, const Logger& logger) {
  for (const std::filesystem::path& place : {folder.root, folder.start()}) {
    if (!std::filesystem::is_directory(place)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(place)) {
      const std::string name = entry.path().filename().string();
      if (!entry.is_regular_file() || name.find(".tmp-") == std::string::npos) continue;
      std::filesystem::remove(entry.path());
      logger.info("removed " + entry.path().string() + ", which a killed attempt left");
    }
  }
}

RunRecord::RunRecord(const Config& config, const RunFolder& folder, const Logger& logger)
    : config_(config), folder_{made_run_folder(folder.root)}, lock_(folder_.lock()), ledger_(folder_.ledger()) {
  clear_temporary_files(folder_, logger);
  if (ledger_.cut_bytes() > 0) {
    logger.warning("ledger.log: its last record was cut short by the end of the previous attempt: " +
                   std::to_string(ledger_.cut_bytes()) + " bytes cut");
  }
  if (const auto& started = state().started) {
    run_id_ = started->run_id;
    const Config before = parse_config(started->config, folder_.ledger().string() + ": the run's configuration", {});
    const auto differences = config_differences(before, config_);
    if (!differences.empty()) {
      throw ConfigError(folder_.root.string() + ": the run there has another configuration: " + join(differences, "; ") +
                        "; take another --run-dir, or the run's own values");
    }
  } else {
    run_id_ = new_run_id();
  }
  if (state().finished && config_.run.steps <= state().finished->steps) {
    if (std::filesystem::exists(folder_.summary())) {
      throw ConfigError(folder_.root.string() + ": the run is finished (" + std::to_string(state().finished->steps) +
                        " steps); give a larger run.steps to go on, or another --run-dir");
    }
    only_summary_left_ = true;
  } else {
    std::filesystem::remove(folder_.summary());
  }
  std::filesystem::remove(folder_.hub());  // of an attempt that is over: nobody is to connect there
  write_file_atomically(folder_.config(), print_config(config_));
  write_file_atomically(folder_.version(), version_text());
}

void RunRecord::begin(const std::string& initial_weights_hash) {
  if (!state().started) {
    ledger_.append(RunStarted{print_config(config_), config_hash(config_), initial_weights_hash, run_id_});
    ledger_.sync();
    return;
  }
  if (state().started->weights_hash != initial_weights_hash) {
    throw ConfigError(folder_.root.string() + ": the run began with the weights " + state().started->weights_hash +
                      ", but the model given now has " + initial_weights_hash);
  }
}

void RunRecord::write_summary() const { write_file_atomically(folder_.summary(), summary_text(state())); }

std::string summary_text(const LedgerState& state) {
  std::int64_t trained = 0;
  for (const auto& [step, batch] : state.batches) {
    if (step <= state.last_trained_step) trained += static_cast<std::int64_t>(batch.groups.size());
  }
  nlohmann::ordered_json refused = nlohmann::ordered_json::object();
  for (const auto& [reason, count] : state.refused) refused[reason] = count;
  const auto steps = static_cast<std::uint64_t>(state.last_trained_step);
  const nlohmann::ordered_json summary = {
      {"steps", state.last_trained_step},
      {"attempts", state.attempts},
      {"wall_s", state.wall_s},
      {"accuracy_before", number_or_null(accuracy_at(state, 0))},
      {"accuracy_after", number_or_null(accuracy_at(state, steps))},
      {"tokens_generated", state.tokens_generated},
      {"tokens_trained", state.tokens_trained},
      {"groups_trained", trained},
      {"groups_refused", refused},
      {"final_hash", state.finished ? nlohmann::ordered_json(state.finished->final_hash) : nlohmann::ordered_json(nullptr)}};
  return summary.dump(2) + "\n";
}

}  // namespace troupe
