#include "learner/hub/ledger.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "common/base/error.h"
#include "common/base/fault.h"

namespace troupe {
namespace {

template <class T>
std::string text(const T& number) {
  return std::to_string(number);
}

/// An invariant of the ledger; the message completes "ledger: ".
void require(bool holds, const std::string& what) {
  if (!holds) throw ConfigError("ledger: " + what);
}

/// Applies one record to the state; one overload for each kind of record.
class Fold {
 public:
  explicit Fold(LedgerState& state) : s_(state) {}

  void operator()(const RunStarted& r) {
    require(!s_.started, "a second run_started record");
    s_.started = r;
  }

  void operator()(const AttemptStarted& r) {
    require(r.incarnation > s_.incarnation,
            "attempt " + text(r.incarnation) + " follows attempt " + text(s_.incarnation));
    s_.incarnation = r.incarnation;
    ++s_.attempts;
    s_.attempt_began_s = r.unix_s;
    s_.earlier_wall_s = s_.wall_s;
    s_.finished.reset();
    s_.stopped.reset();
    s_.refused.erase("unused");
    s_.evaluating.clear();
    for (auto& [number, entry] : s_.groups) {
      const bool unused = entry.state == GroupState::kRefused && entry.reason == "unused";
      if (unused || entry.state == GroupState::kLeased || entry.state == GroupState::kRolledOut) {
        entry.state = GroupState::kOpen;
      }
    }
  }

  void operator()(const GroupLeased& r) {
    GroupEntry& entry = entries(r.purpose)[r.group];
    const bool again = r.purpose == Purpose::kEvaluate && entry.state == GroupState::kScored;  // of a newer version
    require(entry.state == GroupState::kOpen || again, group(r) + " leased while " + name_of(entry.state));
    entry.state = GroupState::kLeased;
    entry.lease_id = r.lease_id;
    ++entry.attempts;
    if (r.purpose == Purpose::kTrain) s_.next_group = std::max(s_.next_group, r.group + 1);
  }

  void operator()(const LeaseLost& r) {
    GroupEntry& entry = known(r);
    if (entry.state == GroupState::kRolledOut) return;  // a rewarder's: the rollout is still there
    expect(r, entry, GroupState::kLeased, "lost its lease");
    same_lease(r, entry);
    entry.state = GroupState::kOpen;
  }

  void operator()(const GroupRolledOut& r) {
    GroupEntry& entry = known(r);
    expect(r, entry, GroupState::kLeased, "rolled out");
    same_lease(r, entry);
    entry.state = GroupState::kRolledOut;
    entry.lowest_version = r.lowest_version;
    entry.tokens = r.tokens;
    if (r.purpose == Purpose::kTrain) s_.tokens_generated += r.tokens;
  }

  void operator()(const GroupScored& r) {
    GroupEntry& entry = known(r);
    expect(r, entry, GroupState::kRolledOut, "scored");
    entry.state = GroupState::kScored;
    entry.hash = r.hash;
    entry.place = r.place;
  }

  void operator()(const GroupRefused& r) {
    const auto found = s_.groups.find(r.group);
    require(found != s_.groups.end(), "group " + text(r.group) + " refused without a lease");
    GroupEntry& entry = found->second;
    require(!is_final(entry.state) && entry.state != GroupState::kChosen,
            "group " + text(r.group) + " refused while " + name_of(entry.state));
    entry.reason = r.reason;
    entry.state = r.again ? GroupState::kOpen : GroupState::kRefused;
    ++(r.again ? s_.refused_again : s_.refused)[r.reason];
  }

  void operator()(const BatchChosen& r) {
    require(r.step == s_.last_chosen_step + 1,
            "batch of step " + text(r.step) + " chosen after that of step " + text(s_.last_chosen_step));
    require(r.groups.size() == r.hashes.size() && r.groups.size() == r.places.size(),
            "batch of step " + text(r.step) + " has " + text(r.groups.size()) + " groups, " + text(r.hashes.size()) +
                " hashes and " + text(r.places.size()) + " places");
    for (std::size_t i = 0; i < r.groups.size(); ++i) {
      const auto found = s_.groups.find(r.groups[i]);
      const std::string what = "group " + text(r.groups[i]) + " of step " + text(r.step);
      require(found != s_.groups.end(), what + " was never leased");
      GroupEntry& entry = found->second;
      require(entry.state == GroupState::kScored, what + " chosen while " + name_of(entry.state));
      require(entry.hash == r.hashes[i] && entry.place == r.places[i], what + " is not the group that was scored");
      entry.state = GroupState::kChosen;
      entry.step = r.step;
    }
    s_.last_chosen_step = r.step;
    s_.batches[r.step] = r;
  }

  void operator()(const StepTrained& r) {
    require(r.step >= 1 && r.step <= s_.last_trained_step + 1 && r.step <= s_.last_chosen_step,
            "step " + text(r.step) + " trained after step " + text(s_.last_trained_step) + " with batches up to step " +
                text(s_.last_chosen_step));
    const bool rolled_forward = r.step <= s_.last_trained_step;
    StepTrained& known = s_.trained[r.step];
    if (rolled_forward && !same_numbers(known, r) && (s_.diverged_step == 0 || r.step < s_.diverged_step)) {
      s_.diverged_step = r.step;
    }
    StepTrained latest = r;
    if (latest.weights_hash.empty()) {
      latest.weights_hash = known.weights_hash;
      latest.tensor_hashes = known.tensor_hashes;
    }
    known = std::move(latest);
    if (rolled_forward) return;
    for (const std::uint64_t number : s_.batches.at(r.step).groups) {
      GroupEntry& entry = s_.groups.at(number);
      entry.state = GroupState::kTrained;
      s_.tokens_trained += entry.tokens;
    }
    time_is(r.unix_s);
    s_.last_trained_step = r.step;
  }

  void operator()(const Evaluated& r) {
    s_.evaluating.clear();
    s_.evaluations.push_back(r);
  }

  void operator()(const CheckpointWritten& r) { s_.checkpoints.push_back(r); }

  void operator()(const AttemptStopped& r) { s_.stopped = r; }

  void operator()(const LogsPruned& r) { s_.pruned_files.insert(r.files.begin(), r.files.end()); }

  void operator()(const RunFinished& r) {
    require(r.steps == s_.last_trained_step && s_.last_chosen_step == s_.last_trained_step,
            "the run ended after step " + text(r.steps) + ", trained are " + text(s_.last_trained_step) +
                " steps and chosen " + text(s_.last_chosen_step));
    for (const auto& [number, entry] : s_.groups) {
      require(is_final(entry.state), "the run ended while group " + text(number) + " was " + name_of(entry.state));
    }
    time_is(r.unix_s);
    s_.finished = r;
  }

 private:
  void time_is(double unix_s) { s_.wall_s = s_.earlier_wall_s + std::max(0.0, unix_s - s_.attempt_began_s); }

  std::map<std::uint64_t, GroupEntry>& entries(Purpose purpose) {
    return purpose == Purpose::kTrain ? s_.groups : s_.evaluating;
  }
  template <class R>
  static std::string group(const R& r) {
    return (r.purpose == Purpose::kTrain ? "group " : "evaluation group ") + text(r.group);
  }
  template <class R>
  GroupEntry& known(const R& r) {
    auto& all = entries(r.purpose);
    const auto found = all.find(r.group);
    require(found != all.end(), group(r) + " was never leased");
    return found->second;
  }
  template <class R>
  static void expect(const R& r, const GroupEntry& entry, GroupState state, const char* event) {
    require(entry.state == state, group(r) + " " + event + " while " + name_of(entry.state));
  }
  template <class R>
  static void same_lease(const R& r, const GroupEntry& entry) {
    require(entry.lease_id == r.lease_id,
            group(r) + " is under lease " + text(entry.lease_id) + ", not " + text(r.lease_id));
  }

  LedgerState& s_;
};

}  // namespace

const char* name_of(GroupState state) {
  switch (state) {
    case GroupState::kOpen:
      return "open";
    case GroupState::kLeased:
      return "leased";
    case GroupState::kRolledOut:
      return "rolled out";
    case GroupState::kScored:
      return "scored";
    case GroupState::kChosen:
      return "chosen";
    case GroupState::kTrained:
      return "trained";
    case GroupState::kRefused:
      return "refused";
  }
  return "?";
}

bool same_numbers(const StepTrained& a, const StepTrained& b) {
  const auto same = [](double x, double y) {
    return std::bit_cast<std::uint64_t>(x) == std::bit_cast<std::uint64_t>(y) || (std::isnan(x) && std::isnan(y));
  };
  const bool same_hash = a.weights_hash.empty() || b.weights_hash.empty() || a.weights_hash == b.weights_hash;
  return same(a.loss, b.loss) && same(a.grad_norm, b.grad_norm) && same_hash;
}

bool is_final(GroupState state) { return state == GroupState::kTrained || state == GroupState::kRefused; }

void LedgerState::apply(const LedgerRecord& record) {
  require(started || std::holds_alternative<RunStarted>(record), "the first record is not run_started");
  const bool may_follow = std::holds_alternative<AttemptStarted>(record) || std::holds_alternative<LogsPruned>(record);
  require(!finished || may_follow, "a record follows the end record");
  std::visit(Fold(*this), record);
}

Ledger::Ledger(const std::filesystem::path& path) : writer_(path), state_(read_ledger(path)) {}

void Ledger::append(const LedgerRecord& record) {
  state_.apply(record);  // first: what breaks an invariant is not written
  fault::point("ledger.append.before");
  writer_.append(static_cast<std::uint16_t>(record.index() + 1), to_json_text(record));
  fault::point("ledger.append.after");
}

void Ledger::sync() {
  fault::point("ledger.sync.before");
  writer_.sync();
  fault::point("ledger.sync.after");
}

std::vector<LedgerRecord> read_ledger_records(const std::filesystem::path& path) {
  FramedFileReader reader(path);
  std::vector<LedgerRecord> records;
  while (const auto frame = reader.next()) records.push_back(ledger_record_of(*frame, path.string()));
  return records;
}

LedgerState read_ledger(const std::filesystem::path& path) {
  FramedFileReader reader(path);
  LedgerState state;
  while (const auto frame = reader.next()) {
    try {
      state.apply(ledger_record_of(*frame, path.string()));
    } catch (const ConfigError& e) {
      const std::string what = e.what();
      if (what.starts_with(path.string())) throw;
      throw ConfigError(path.string() + " at offset " + std::to_string(frame->position.offset) + ": " + what);
    }
  }
  return state;
}

std::vector<GroupRecord> read_batch(const LedgerState& state, std::int64_t step, RolloutLogReader& rollouts) {
  const auto found = state.batches.find(step);
  if (found == state.batches.end()) throw ConfigError("ledger: no batch was chosen for step " + text(step));
  const BatchChosen& batch = found->second;
  std::vector<GroupRecord> records;
  for (std::size_t i = 0; i < batch.groups.size(); ++i) {
    if (state.pruned_files.contains(batch.places[i].file)) {
      throw ConfigError("rollout log: the groups of step " + text(step) +
                        " are pruned (troupe inspect RUN --prune); later steps are there");
    }
    GroupRecord record = rollouts.read(batch.places[i]);
    const std::string hash = content_hash(record);
    if (record.group != batch.groups[i] || hash != batch.hashes[i]) {
      throw ConfigError("rollout log: step " + text(step) + " expects group " + text(batch.groups[i]) + " with hash " +
                        batch.hashes[i] + ", found group " + text(record.group) + " with hash " + hash + " in file " +
                        text(batch.places[i].file) + " at offset " + text(batch.places[i].offset));
    }
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace troupe
