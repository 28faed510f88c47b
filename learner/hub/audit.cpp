#include "learner/hub/audit.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <stdexcept>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/config/run_folder.h"
#include "learner/hub/ledger.h"
#include "learner/hub/leftovers.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kGraceMs = 10'000;  // on a busy machine a run needs a while from its end record to its exit

std::string text(std::int64_t number) { return std::to_string(number); }
std::string text(std::uint64_t number) { return std::to_string(number); }

/// Walks the records once, with books of its own.
class Auditor {
 public:
  explicit Auditor(const RunFolder& folder) : folder_(folder) {}

  AuditResult run() {
    for (const LedgerRecord& record : read_ledger_records(folder_.ledger())) std::visit(*this, record);
    close_books();
    check_rollouts();
    check_leftovers();
    return std::move(result_);
  }

  void operator()(const RunStarted& r) {
    run_id_ = r.run_id;
    max_lag_ = parse_config(r.config, folder_.ledger().string() + ": run_started", {}).run.max_lag;
  }
  void operator()(const AttemptStarted&) {
    // A finished run that goes on opens again what it had left unused.
    std::erase_if(final_, [](const auto& entry) { return entry.second == "unused"; });
    result_.finished = false;
    result_.final_hash.clear();
  }
  void operator()(const GroupLeased& r) {
    if (r.purpose == Purpose::kEvaluate) return;
    leased_.insert(r.group);
    const auto done = final_.find(r.group);
    if (done != final_.end()) problem("I1", "group " + text(r.group) + " was leased after it was " + done->second);
  }
  void operator()(const LeaseLost&) { ++result_.leases_lost; }
  void operator()(const GroupRolledOut&) {}
  void operator()(const GroupScored&) {}
  void operator()(const GroupRefused& r) {
    if (r.again) {
      ++result_.groups_refused_again[r.reason];
    } else {
      end(r.group, "refused as " + r.reason, r.reason);
    }
  }
  void operator()(const BatchChosen& r) {
    if (r.step != static_cast<std::int64_t>(batches_.size()) + 1) {
      problem("I5", "the batch of step " + text(r.step) + " follows that of step " +
                        text(static_cast<std::int64_t>(batches_.size())));
    }
    for (const std::uint64_t number : r.groups) {
      const auto [place, first] = step_of_.emplace(number, r.step);
      if (!first)
        problem("I2", "group " + text(number) + " is in steps " + text(place->second) + " and " + text(r.step));
      if (!leased_.contains(number))
        problem("I1", "group " + text(number) + " of step " + text(r.step) + " was never leased");
    }
    batches_.push_back(r);
  }
  void operator()(const StepTrained& r) {
    const auto [earlier, first] = trained_.try_emplace(r.step, r);
    if (!first && !same_numbers(earlier->second, r)) {
      first_diverged_ = first_diverged_ == 0 ? r.step : std::min(first_diverged_, r.step);
    }
    if (r.step <= result_.steps) return;  // rolled forward
    if (r.step != result_.steps + 1)
      problem("I5", "step " + text(r.step) + " was trained after step " + text(result_.steps));
    result_.steps = r.step;
    const auto batch = std::find_if(batches_.begin(), batches_.end(), [&](const auto& b) { return b.step == r.step; });
    if (batch == batches_.end()) {
      problem("I5", "step " + text(r.step) + " was trained without a batch record");
      return;
    }
    for (const std::uint64_t number : batch->groups) end(number, "trained at step " + text(r.step), "trained");
  }
  void operator()(const Evaluated&) {}
  void operator()(const CheckpointWritten&) {}
  void operator()(const AttemptStopped&) {}
  void operator()(const LogsPruned& r) { pruned_.insert(r.files.begin(), r.files.end()); }
  void operator()(const RunFinished& r) {
    result_.finished = true;
    result_.final_hash = r.final_hash;
    if (r.steps != result_.steps)
      problem("I5", "the end record names " + text(r.steps) + " steps, trained are " + text(result_.steps));
  }

 private:
  void problem(const std::string& invariant, const std::string& what) {
    result_.problems.push_back(invariant + ": " + what);
  }

  void end(std::uint64_t number, const std::string& what, const std::string& reason) {
    const auto [place, first] = final_.emplace(number, reason);
    if (!first) problem("I1", "group " + text(number) + " was " + what + ", but had ended as " + place->second);
    if (!leased_.contains(number)) problem("I1", "group " + text(number) + " was " + what + " but never leased");
  }

  void close_books() {
    result_.groups_leased = static_cast<std::int64_t>(leased_.size());
    for (const auto& [number, reason] : final_) {
      if (reason == "trained") {
        ++result_.groups_trained;
      } else {
        ++result_.groups_refused[reason];
      }
    }
    for (const std::uint64_t number : leased_) {
      if (final_.contains(number)) continue;
      ++result_.groups_open;
      if (result_.finished) problem("I1", "the run ended while group " + text(number) + " had no final state");
    }
    result_.exact_steps = first_diverged_ == 0 ? result_.steps : first_diverged_ - 1;
  }

  /// Every frame of the rollout log, those included that no step trained on. The newest file may end in a torn one.
  void check_frames() {
    std::set<fs::path> files;
    if (fs::exists(folder_.rollouts())) {
      for (const auto& entry : fs::directory_iterator(folder_.rollouts())) {
        if (entry.path().extension() == ".log") files.insert(entry.path());
      }
    }
    for (const fs::path& file : files) {
      try {
        FramedFileReader reader(file);
        while (reader.next()) {
        }
        if (reader.torn_bytes() == 0 || file == *files.rbegin()) continue;
        problem("I3", file.string() + ": cut short at offset " + text(reader.offset()) + ", but newer files follow");
      } catch (const Error& e) {
        problem("I3", e.what());
      }
    }
  }

  void check_rollouts() {
    check_frames();
    if (batches_.empty()) return;
    RolloutLogReader reader(folder_.rollouts());
    for (const BatchChosen& batch : batches_) {
      for (std::size_t i = 0; i < batch.groups.size(); ++i) check_group(reader, batch, i);
    }
  }

  void check_group(RolloutLogReader& reader, const BatchChosen& batch, std::size_t i) {
    const std::string what = "group " + text(batch.groups[i]) + " of step " + text(batch.step);
    try {
      if (pruned_.contains(batch.places.at(i).file)) {
        ++result_.groups_pruned;
        return;
      }
      ++result_.groups_read;
      const GroupRecord record = reader.read(batch.places.at(i));
      const std::string hash = content_hash(record);
      if (record.group != batch.groups[i] || hash != batch.hashes.at(i)) {
        problem("I3", what + ": the ledger names hash " + batch.hashes.at(i) + ", the rollout log has group " +
                          text(record.group) + " with hash " + hash);
        return;
      }
      const std::int64_t lag = batch.step - 1 - static_cast<std::int64_t>(lowest_version(record));
      if (lag < 0 || lag > max_lag_) {
        problem("I4", what + ": its lag is " + text(lag) + ", expected 0 to " + text(max_lag_));
      }
    } catch (const Error& e) {
      problem("I3", what + ": " + e.what());
    } catch (const std::out_of_range&) {
      problem("I3", what + ": the batch record has no hash or place for it");
    }
  }

  void check_leftovers() {
    const bool summary = fs::exists(folder_.summary());
    if (result_.finished && !summary) problem("I7", "the ledger has its end record, but there is no summary.json");
    if (!result_.finished && summary) problem("I7", "there is a summary.json, but the ledger has no end record");
    if (!result_.finished) return;  // what a killed run leaves is cleared at its next start
    for (const std::string& what : leftovers_of(folder_, run_id_, kGraceMs)) problem("I6", what + " was left behind");
  }

  RunFolder folder_;
  AuditResult result_;
  std::string run_id_;
  std::int64_t max_lag_ = 0;
  std::set<std::uint32_t> pruned_;  // files of the rollout log
  std::set<std::uint64_t> leased_;
  std::map<std::uint64_t, std::string> final_;     // group to "trained" or the reason of its refusal
  std::map<std::uint64_t, std::int64_t> step_of_;  // group to the step that chose it
  std::vector<BatchChosen> batches_;
  std::map<std::int64_t, StepTrained> trained_;  // by step, as it came out first
  std::int64_t first_diverged_ = 0;
};

}  // namespace

AuditResult audit(const std::string& run_dir) {
  const RunFolder folder{run_dir};
  if (!fs::exists(folder.ledger())) throw ConfigError(run_dir + ": expected a run directory, found no ledger.log");
  return Auditor(folder).run();
}

}  // namespace troupe
