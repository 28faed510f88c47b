#include "learner/stages/stage_record.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/metric_names.h"
#include "common/base/text.h"
#include "learner/stages/run_record.h"
#include "learner/stages/version_text.h"

namespace troupe {
namespace {

/// What stage.json says, or nothing where the stage has not begun.
std::optional<nlohmann::json> begun(const RunFolder& folder) {
  if (!std::filesystem::exists(folder.stage())) return std::nullopt;
  nlohmann::json json = nlohmann::json::parse(read_file(folder.stage()), nullptr, false);
  const auto is = [&](const char* key) { return json.is_object() && json.contains(key) && json[key].is_string(); };
  if (!is("stage") || !is("weights"))
    throw ConfigError(folder.stage().string() + ": expected an object with the texts stage and weights");
  return json;
}

void require_same_run(SupervisedKind kind, const Config& config, const RunFolder& folder) {
  const std::string where = folder.root.string();
  if (std::filesystem::exists(folder.ledger())) throw ConfigError(where + ": a run of troupe run is there; take another --run-dir");
  const auto before = begun(folder);
  if (!before) return;
  if ((*before)["stage"] != name_of(kind)) {
    throw ConfigError(where + ": a run of troupe " + std::string((*before)["stage"]) + " is there; take another --run-dir");
  }
  const auto differences = config_differences(load_config(folder.config().string(), {}), config);
  if (!differences.empty()) {
    throw ConfigError(where + ": the run there has another configuration: " + join(differences, "; ") +
                      "; take another --run-dir, or the run's own values");
  }
  if (!std::filesystem::exists(folder.summary())) return;
  const nlohmann::json summary = nlohmann::json::parse(read_file(folder.summary()), nullptr, false);
  if (summary.is_object() && summary.value("steps", std::int64_t{0}) < config.run.steps) return;
  throw ConfigError(where + ": the run is finished; give a larger run.steps to go on, or another --run-dir");
}

}  // namespace

StageRecord::StageRecord(SupervisedKind kind, const Config& config, const RunFolder& folder, const Logger& logger)
    : kind_(kind), folder_(folder), lock_(made_run_folder(folder.root) / folder.lock().filename()) {
  clear_temporary_files(folder, logger);
  require_same_run(kind, config, folder);
  std::filesystem::remove(folder.summary());
  write_file_atomically(folder.config(), print_config(config));
  write_file_atomically(folder.version(), version_text());
}

void StageRecord::begin(const std::string& initial_weights_hash, std::int64_t resumed_step) {
  const auto before = begun(folder_);
  if (before && (*before)["weights"] != initial_weights_hash) {
    throw ConfigError(folder_.root.string() + ": the run began with the weights " + std::string((*before)["weights"]) +
                      ", but the model given now has " + initial_weights_hash);
  }
  if (!before) {
    const nlohmann::ordered_json now = {{"stage", name_of(kind_)}, {"weights", initial_weights_hash}};
    write_file_atomically(folder_.stage(), now.dump(2) + "\n");
  }
  metrics_.emplace(folder_.root, resumed_step > 0 ? resumed_step : -1);  // the line of step 0 is written anew, too
}

void StageRecord::write_summary(std::int64_t steps, const std::string& final_hash) const {
  double tokens = 0;
  double wall_s = 0;
  nlohmann::ordered_json held_out = nlohmann::json::array();
  nlohmann::ordered_json loss;
  for (const auto& [step, values] : read_metrics(folder_.metrics())) {
    const auto value = [&values](std::string_view name) -> std::optional<double> {
      const auto found = values.find(std::string(name));
      return found == values.end() ? std::nullopt : std::optional(found->second);
    };
    tokens += value(metric::kTokens).value_or(0);
    wall_s += value(metric::kStepS).value_or(0);
    if (const auto now = value(metric::kLoss)) loss = *now;
    if (const auto now = value(metric::kHeldOutLoss)) held_out.push_back(*now);
  }
  const nlohmann::ordered_json nothing;
  const nlohmann::ordered_json summary = {{"stage", name_of(kind_)},
                                          {"steps", steps},
                                          {"wall_s", wall_s},
                                          {"tokens_trained", static_cast<std::int64_t>(tokens)},
                                          {"loss", loss},
                                          {"held_out_loss_before", held_out.empty() ? nothing : held_out.front()},
                                          {"held_out_loss_after", held_out.empty() ? nothing : held_out.back()},
                                          {"final_hash", final_hash}};
  write_file_atomically(folder_.summary(), summary.dump(2) + "\n");
}

}  // namespace troupe
