#include "launch/inspect_audit.h"

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "learner/checkpoint_folder.h"
#include "learner/hub/audit.h"

namespace troupe {
namespace {

using Json = nlohmann::ordered_json;

/// An invariant as the audit found it.
struct Verdict {
  const char* name;
  std::string state;  // holds | broken | not checked
  std::string what;
};

std::string count(std::int64_t number, const std::string& what) { return std::to_string(number) + " " + what; }

std::vector<Verdict> verdicts_of(const AuditResult& r) {
  const std::string bytes = count(r.groups_read, "trained groups read and hashed") +
                            (r.groups_pruned > 0 ? ", " + count(r.groups_pruned, "pruned and not checked") : "");
  const bool ended = r.finished;
  std::vector<Verdict> verdicts = {
      {"I1", "",
       "each leased group has one final state: " + count(r.groups_leased, "leased") + ", " + count(r.groups_open, "open")},
      {"I2", "", "no group is in two trained steps: " + count(r.groups_trained, "trained")},
      {"I3", "", "trained groups have the bytes that the ledger names: " + bytes},
      {"I4", "", "their lag is at most run.max_lag"},
      {"I5", "", "steps are consecutive: " + count(r.steps, "trained")},
      {"I6", ended ? "" : "not checked",
       ended ? "no temporary file, shared memory or process of the run is left on this host"
             : "leftovers: the run has not ended, and what a killed run leaves is cleared at its next start"},
      {"I7", "", "the end record and summary.json come together; the exit code itself only sees who started the run"},
      {"I8", "not checked", "the last error line: it is in the output of the run, not in its directory"}};
  for (Verdict& verdict : verdicts) {
    const bool broken = std::any_of(r.problems.begin(), r.problems.end(),
                                    [&](const std::string& problem) { return problem.starts_with(verdict.name); });
    if (broken) verdict.state = "broken";
    if (verdict.state.empty()) verdict.state = "holds";
  }
  return verdicts;
}

/// What is wrong with the run's checkpoints.
std::vector<std::string> damaged_checkpoints(const RunFolder& folder) {
  std::vector<std::string> damages;
  for (const std::int64_t step : complete_checkpoints(folder.checkpoints())) {
    if (auto damage = find_damage(checkpoint_folder(folder.checkpoints(), step))) damages.push_back("checkpoint: " + *damage);
  }
  return damages;
}

void print_json(const AuditResult& r, const std::vector<std::string>& damages) {
  Json json = {{"finished", r.finished},
               {"steps", r.steps},
               {"exact_steps", r.exact_steps},
               {"groups_leased", r.groups_leased},
               {"groups_trained", r.groups_trained},
               {"groups_open", r.groups_open},
               {"groups_refused", r.groups_refused},
               {"groups_refused_again", r.groups_refused_again},
               {"groups_pruned", r.groups_pruned},
               {"leases_lost", r.leases_lost}};
  for (const Verdict& v : verdicts_of(r)) json["invariants"][v.name] = {{"state", v.state}, {"what", v.what}};
  json["problems"] = r.problems;
  for (const std::string& damage : damages) json["problems"].push_back(damage);
  json["final_hash"] = r.finished ? Json(r.final_hash) : Json(nullptr);
  std::cout << json.dump(2) << '\n';
}

void print_text(const AuditResult& r, const std::vector<std::string>& damages) {
  for (const Verdict& v : verdicts_of(r)) std::cout << v.name << "  " << v.state << ": " << v.what << '\n';
  std::cout << "leases lost: " << r.leases_lost << '\n';
  for (const auto& [reason, number] : r.groups_refused) std::cout << "refused " << reason << ": " << number << '\n';
  for (const auto& [reason, number] : r.groups_refused_again) std::cout << "generated again, " << reason << ": " << number << '\n';
  if (r.exact_steps < r.steps) {
    std::cout << "bit-exact up to step " << r.exact_steps << ": rolled forward, later ones came out with other weights\n";
  }
  for (const auto* problems : {&r.problems, &damages}) {
    for (const std::string& problem : *problems) std::cout << "PROBLEM " << problem << '\n';
  }
  if (r.finished) std::cout << "final_hash " << r.final_hash << '\n';
  std::cout << (r.problems.empty() ? "the ledger balances\n" : "the ledger does NOT balance\n");
}

}  // namespace

int show_audit(const RunFolder& folder, bool json) {
  const AuditResult result = audit(folder.root.string());
  const std::vector<std::string> damages = damaged_checkpoints(folder);
  json ? print_json(result, damages) : print_text(result, damages);
  return result.problems.empty() && damages.empty() ? 0 : 1;
}

}  // namespace troupe
