#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/metric_names.h"
#include "common/base/metrics.h"
#include "common/base/text.h"
#include "common/config/run_folder.h"
#include "launch/commands.h"
#include "launch/group_life.h"
#include "launch/inspect_audit.h"
#include "launch/report.h"
#include "launch/trace.h"
#include "learner/checkpoint_folder.h"
#include "learner/health/health.h"
#include "learner/hub/ledger.h"
#include "learner/hub/leftovers.h"
#include "learner/hub/prune.h"
#include "learner/stages/run_record.h"

namespace troupe {
namespace {

namespace po = boost::program_options;
using Json = nlohmann::ordered_json;

LedgerState state_of(const RunFolder& folder) {
  if (!std::filesystem::exists(folder.ledger())) {
    throw ConfigError(folder.root.string() + ": expected a run directory, found no ledger.log in it");
  }
  return read_ledger(folder.ledger());
}

Config config_of(const RunFolder& folder, const LedgerState& state) {
  return parse_config(state.started->config, folder.ledger().string() + ": the run's configuration", {});
}

/// What the checks of [health] found over the run.
std::vector<Finding> findings_of(const RunFolder& folder, const LedgerState& state) {
  if (!state.started || !std::filesystem::exists(folder.metrics())) return {};
  return health_of(config_of(folder, state), read_metrics(folder.metrics())).findings();
}

std::string condition_of(const RunFolder& folder, const LedgerState& state) {
  if (state.finished) return "finished";
  if (has_live_owner(folder)) return "running";
  if (state.stopped) return "stopped after step " + std::to_string(state.stopped->step) + ": " + state.stopped->reason;
  return "interrupted; the same command resumes";
}

void show_json(const RunFolder& folder, const LedgerState& state) {
  Json json = Json::parse(summary_text(state));
  json["condition"] = condition_of(folder, state);
  Json findings = Json::array();
  for (const Finding& f : findings_of(folder, state)) {
    findings.push_back({{"check", f.check},
                        {"since", f.since},
                        {"until", f.until == 0 ? Json(nullptr) : Json(f.until)},
                        {"what", f.what},
                        {"cause", f.cause}});
  }
  json["not_learning"] = std::move(findings);
  Json steps = Json::array();
  for (const auto& [step, trained] : state.trained) steps.push_back({{"step", step}, {"weights_hash", trained.weights_hash}});
  json["step_count"] = json["steps"];
  json["steps"] = std::move(steps);
  std::cout << json.dump(2) << '\n';
}

/// "open 1, leased 4, scored 2": the groups that are neither trained nor refused.
std::string open_groups(const LedgerState& state) {
  std::map<std::string, int> counts;
  for (const auto& [number, entry] : state.groups) {
    if (!is_final(entry.state)) ++counts[name_of(entry.state)];
  }
  std::vector<std::string> parts;
  for (const auto& [name, count] : counts) parts.push_back(name + " " + std::to_string(count));
  return parts.empty() ? "none" : join(parts, ", ");
}

void show_last_step(const RunFolder& folder) {
  const auto lines = std::filesystem::exists(folder.metrics()) ? read_metrics(folder.metrics()) : std::vector<MetricsLine>();
  if (lines.empty()) return;
  std::cout << "  step " << lines.back().step << ":";
  for (const std::string_view name :
       {metric::kReward, metric::kAccuracy, metric::kLengthMean, metric::kKl, metric::kEntropy, metric::kTokensPerS}) {
    const auto value = lines.back().values.find(std::string(name));
    if (value != lines.back().values.end()) std::cout << "  " << name << " " << value->second;
  }
  std::cout << '\n';
}

void show_overview(const RunFolder& folder, const LedgerState& state) {
  const Json summary = Json::parse(summary_text(state));
  std::cout << "run " << folder.root.string() << ", " << condition_of(folder, state) << '\n';
  for (const auto& [key, value] : summary.items()) std::cout << "  " << key << ": " << value.dump() << '\n';
  std::cout << "  groups open: " << open_groups(state) << '\n';
  show_last_step(folder);
  for (const Evaluated& evaluated : state.evaluations) {
    std::cout << "  held-out at version " << evaluated.version << ": accuracy " << evaluated.accuracy << ", reward "
              << evaluated.mean_reward << " over " << evaluated.prompts << " prompts\n";
  }
  for (const CheckpointWritten& checkpoint : state.checkpoints) {
    if (std::filesystem::exists(folder.checkpoints() / checkpoint.folder))
      std::cout << "  checkpoint " << checkpoint.folder << '\n';
  }
  for (const Finding& finding : findings_of(folder, state)) {
    const std::string end =
        finding.until == 0 ? "NOT LEARNING " : "was not learning up to step " + std::to_string(finding.until) + ", ";
    std::cout << "  " << end << describe(finding) << '\n';
  }
}

int show_prune(const RunFolder& folder, const LedgerState& state, std::int64_t step) {
  const FolderLock lock(folder.lock());  // says who runs where the run is alive
  std::vector<std::int64_t> whole;
  for (const std::int64_t checkpoint : complete_checkpoints(folder.checkpoints())) {
    const auto damage = find_damage(checkpoint_folder(folder.checkpoints(), checkpoint));
    if (damage) std::cerr << "the checkpoint of step " << checkpoint << " is damaged and does not count: " << *damage << '\n';
    if (!damage) whole.push_back(checkpoint);
  }
  const PruneResult result = prune_rollouts(folder, step, whole);
  std::cout << "deleted " << result.deleted.size() << " files of the rollout log, " << result.bytes << " bytes; kept "
            << result.kept.size() << ", with the groups of step " << result.needed_from << " and later\n";
  for (const auto& path : clear_shared_memory(folder, state.started->run_id)) std::cout << "removed the shared memory " << path.string() << '\n';
  return 0;
}

}  // namespace

int inspect_command(const std::vector<std::string>& words) {
  po::options_description options;
  options.add_options()("audit", "check the invariants I1 to I8 and print final_hash; exit code 1 where one does not hold")(
      "json", "for machines")("group", po::value<std::uint64_t>(), "the life of this group, with its completions")(
      "evaluation", po::value<std::uint64_t>(), "with --group: that held-out row in the evaluation of this version")(
      "prune", po::value<std::int64_t>(), "delete rollout logs whose groups were all decided before this step");
  const auto values = parse_own("inspect", words, options, {"RUN"});
  const auto given = [&](const char* name) { return values.count(name) > 0; };
  if (given("audit") + given("group") + given("prune") > 1) {
    throw ConfigError("expected at most one of --audit, --group and --prune");
  }
  if (given("evaluation") && !given("group")) throw ConfigError("--evaluation goes with --group ROW");
  const RunFolder folder{values["RUN"].as<std::string>()};
  const LedgerState state = state_of(folder);
  if (given("audit")) return show_audit(folder, given("json"));
  if (given("prune")) return show_prune(folder, state, values["prune"].as<std::int64_t>());
  if (given("group")) {
    const auto version = given("evaluation") ? std::optional(values["evaluation"].as<std::uint64_t>()) : std::nullopt;
    const Json life = group_life(folder, state, values["group"].as<std::uint64_t>(), version);
    std::cout << (given("json") ? life.dump(2, ' ', false, Json::error_handler_t::replace) + "\n" : group_life_text(life));
  } else if (given("json")) {
    show_json(folder, state);
  } else {
    show_overview(folder, state);
  }
  return 0;
}

int report_command(const std::vector<std::string>& words) {
  const auto values = parse_own("report", words, {}, {"RUN"});
  const RunFolder folder{values["RUN"].as<std::string>()};
  state_of(folder);
  write_report(folder.root);
  write_trace(folder.root);
  std::cout << (folder.root / "report.html").string() << '\n' << (folder.root / "trace.json").string() << '\n';
  return 0;
}

}  // namespace troupe
