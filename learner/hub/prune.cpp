#include "learner/hub/prune.h"

#include <algorithm>
#include <limits>
#include <map>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/text.h"
#include "learner/hub/ledger.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kUndecided = std::numeric_limits<std::int64_t>::max();

/// Walks the ledger: up to which step each file of the rollout log is needed.
class FileNeeds {
 public:
  void operator()(const GroupScored& r) {
    const std::size_t frame = frames_.size();
    frames_.push_back({r.place.file, kUndecided});
    auto& open = r.purpose == Purpose::kTrain ? training_ : evaluating_;
    const auto [place, first] = open.emplace(r.group, frame);
    if (first) return;
    decide(place->second, trained_);  // generated anew
    place->second = frame;
  }
  void operator()(const GroupRefused& r) {
    const auto found = training_.find(r.group);
    if (found != training_.end()) decide(found->second, trained_);
  }
  void operator()(const BatchChosen& r) {
    for (const std::uint64_t group : r.groups) decide(training_.at(group), r.step);
  }
  void operator()(const StepTrained& r) { trained_ = std::max(trained_, r.step); }
  void operator()(const AttemptStarted&) { close_evaluation(); }
  void operator()(const Evaluated&) { close_evaluation(); }
  template <class Other>
  void operator()(const Other&) {}

  /// By file: the step that decided the last of its groups.
  std::map<std::uint32_t, std::int64_t> last_step() const {
    std::map<std::uint32_t, std::int64_t> last;
    for (const auto& [file, step] : frames_) last[file] = std::max(last[file], step);
    return last;
  }

 private:
  void decide(std::size_t frame, std::int64_t step) { frames_[frame].second = step; }
  void close_evaluation() {
    for (const auto& [row, frame] : evaluating_) decide(frame, trained_);
    evaluating_.clear();
  }

  std::vector<std::pair<std::uint32_t, std::int64_t>> frames_;  // file, and the step that decided
  std::map<std::uint64_t, std::size_t> training_, evaluating_;  // newest frame of a group
  std::int64_t trained_ = 0;
};

void require_cover(const RunFolder& folder, std::int64_t step, std::span<const std::int64_t> checkpoints) {
  if (step < 1) throw ConfigError("--prune " + std::to_string(step) + ": expected a step of at least 1");
  if (!checkpoints.empty() && checkpoints.back() >= step - 1) return;
  std::vector<std::string> there;
  for (const std::int64_t checkpoint : checkpoints) there.push_back("step-" + std::to_string(checkpoint));
  throw ConfigError("--prune " + std::to_string(step) + ": expected a whole checkpoint of step " + std::to_string(step - 1) +
                    " or later in " + folder.checkpoints().string() + ", found " + (there.empty() ? "none" : join(there, ", ")));
}

}  // namespace

PruneResult prune_rollouts(const RunFolder& folder, std::int64_t step, std::span<const std::int64_t> checkpoints) {
  require_cover(folder, step, checkpoints);
  PruneResult result;
  result.needed_from = std::min(step, checkpoints.front() + 1);
  Ledger ledger(folder.ledger());
  FileNeeds needs;
  for (const LedgerRecord& record : read_ledger_records(folder.ledger())) std::visit(needs, record);
  LogsPruned pruned{step, {}, unix_time_s()};
  const auto last_step = needs.last_step();
  for (const auto& [file, last] : last_step) {
    const fs::path path = rollout_file(folder.rollouts(), file);
    if (!fs::exists(path)) continue;
    const bool newest = !fs::exists(rollout_file(folder.rollouts(), file + 1));  // the next attempt goes on in it
    (newest || last >= result.needed_from ? result.kept : pruned.files).push_back(file);
  }
  if (pruned.files.empty()) return result;
  ledger.append(pruned);
  ledger.sync();
  for (const std::uint32_t file : pruned.files) {
    const fs::path path = rollout_file(folder.rollouts(), file);
    result.bytes += fs::file_size(path);
    fs::remove(path);
    result.deleted.push_back(file);
  }
  sync_folder(folder.rollouts());
  return result;
}

}  // namespace troupe
