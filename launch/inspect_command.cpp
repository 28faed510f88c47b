#include <iostream>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/config/run_folder.h"
#include "common/rollout_log/rollout_log.h"
#include "launch/commands.h"
#include "launch/report.h"
#include "learner/checkpoint_folder.h"
#include "learner/hub/audit.h"
#include "learner/hub/ledger.h"
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

void show_json(const LedgerState& state) {
  Json json = Json::parse(summary_text(state));
  Json steps = Json::array();
  for (const auto& [step, trained] : state.trained) steps.push_back({{"step", step}, {"weights_hash", trained.weights_hash}});
  json["step_count"] = json["steps"];
  json["steps"] = std::move(steps);
  std::cout << json.dump(2) << '\n';
}

void show_overview(const RunFolder& folder, const LedgerState& state) {
  const Json summary = Json::parse(summary_text(state));
  std::cout << "run " << folder.root.string() << (state.finished ? ", finished" : ", not finished") << '\n';
  for (const auto& [key, value] : summary.items()) std::cout << "  " << key << ": " << value.dump() << '\n';
  for (const Evaluated& evaluated : state.evaluations) {
    std::cout << "  held-out at version " << evaluated.version << ": accuracy " << evaluated.accuracy << ", reward "
              << evaluated.mean_reward << " over " << evaluated.prompts << " prompts\n";
  }
  for (const CheckpointWritten& checkpoint : state.checkpoints) {
    if (std::filesystem::exists(folder.checkpoints() / checkpoint.folder)) std::cout << "  checkpoint " << checkpoint.folder << '\n';
  }
}

int show_audit(const RunFolder& folder) {
  const AuditResult result = audit(folder.root.string());
  std::cout << "steps trained " << result.steps << ", groups leased " << result.groups_leased << ", trained " << result.groups_trained
            << ", open " << result.groups_open << ", leases lost " << result.leases_lost << '\n';
  for (const auto& [reason, count] : result.groups_refused) std::cout << "refused " << reason << ": " << count << '\n';
  for (const auto& [reason, count] : result.groups_refused_again) std::cout << "generated again, " << reason << ": " << count << '\n';
  for (const std::string& problem : result.problems) std::cout << "PROBLEM " << problem << '\n';
  bool whole = true;
  for (const std::int64_t step : complete_checkpoints(folder.checkpoints())) {
    const auto damage = find_damage(checkpoint_folder(folder.checkpoints(), step));
    if (damage) std::cout << "PROBLEM checkpoint: " << *damage << '\n';
    whole = whole && !damage;
  }
  if (result.finished) std::cout << "final_hash " << result.final_hash << '\n';
  std::cout << (result.problems.empty() ? "the ledger balances\n" : "the ledger does NOT balance\n");
  return result.problems.empty() && whole ? 0 : 1;
}

/// One record of the ledger as a line about this group, or "" where it is about others.
std::string line_about(const LedgerRecord& record, std::uint64_t group) {
  const Json json = Json::parse(to_json_text(record));
  const bool training = !json.contains("purpose") || json["purpose"] == "train";
  if (json.contains("group") && training && json["group"] == group) return json.dump();
  if (const auto* batch = std::get_if<BatchChosen>(&record)) {
    for (std::size_t i = 0; i < batch->groups.size(); ++i) {
      if (batch->groups[i] == group) {
        return "{\"batch_chosen\": step " + std::to_string(batch->step) + ", place " + std::to_string(i) + ", hash " + batch->hashes[i] + "}";
      }
    }
  }
  return "";
}

void show_group(const RunFolder& folder, const LedgerState& state, std::uint64_t group) {
  const auto entry = state.groups.find(group);
  if (entry == state.groups.end()) {
    throw ConfigError("--group " + std::to_string(group) + ": no such group; leased were 0 to " +
                      std::to_string(state.next_group == 0 ? 0 : state.next_group - 1));
  }
  for (const LedgerRecord& record : read_ledger_records(folder.ledger())) {
    const std::string line = line_about(record, group);
    if (!line.empty()) std::cout << line << '\n';
  }
  if (entry->second.hash.empty()) return;
  RolloutLogReader reader(folder.rollouts());
  const GroupRecord record = reader.read(entry->second.place);
  std::cout << "row " << record.row << '\n';
  for (std::size_t i = 0; i < record.completions.size(); ++i) {
    const Score& score = record.scores[i];
    std::cout << "--- sample " << i << ", " << record.completions[i].token_ids.size() << " tokens, reward "
              << (score.reward ? shortest(*score.reward) : "none");
    for (const RewardComponent& component : score.components) {
      std::cout << ", " << component.name << " " << (component.value ? shortest(*component.value) : "none") << " (" << component.reason << ")";
    }
    std::cout << '\n' << record.completions[i].text << '\n';
  }
}

}  // namespace

int inspect_command(const std::vector<std::string>& words) {
  po::options_description options;
  options.add_options()("audit", "check the invariants I1 to I7 and print final_hash; exit code 1 where one does not hold")(
      "json", "for machines")("group", po::value<std::uint64_t>(), "the life of this group");
  const auto values = parse_own("inspect", words, options, {"RUN"});
  const RunFolder folder{values["RUN"].as<std::string>()};
  const LedgerState state = state_of(folder);
  if (values.count("audit") > 0) return show_audit(folder);
  if (values.count("json") > 0) {
    show_json(state);
  } else if (values.count("group") > 0) {
    show_group(folder, state, values["group"].as<std::uint64_t>());
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
  std::cout << (folder.root / "report.html").string() << '\n';
  return 0;
}

}  // namespace troupe
