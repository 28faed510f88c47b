#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "common/messages/messages.h"
#include "common/rollout_log/framed_file.h"
#include "common/rollout_log/rollout_log.h"

namespace troupe {

// The records of RUN/ledger.log. Bodies are JSON objects (inspectable by eye), framed by
// common/rollout_log/framed_file.

/// Of ledger.log and rollouts/. A changed layout of a record gets a new one (ledger_test.cpp holds it to that); a run directory
/// of another one is refused, for its groups cannot be told what they went through. Format 1 had no number.
inline constexpr std::int64_t kLedgerFormat = 2;

/// First record of a run.
struct RunStarted {
  std::string config;  // print_config()
  std::string config_hash;
  std::string weights_hash;  // of the initial weights
  std::string run_id;
  std::int64_t format = kLedgerFormat;
};
/// A start of the hub, the first included.
struct AttemptStarted {
  std::uint64_t incarnation = 0;
  std::int64_t from_step = 0;
  double unix_s = 0;
};
struct GroupLeased {
  std::uint64_t group = 0;
  std::uint64_t lease_id = 0;
  std::uint32_t attempt = 0;
  Purpose purpose = Purpose::kTrain;
  std::uint64_t policy_version = 0;
  std::string actor;
  double unix_s = 0;
};
/// A lease taken back: an actor's, whose group is open again, or a rewarder's, whose group waits for its scores again.
struct LeaseLost {
  std::uint64_t group = 0;
  Purpose purpose = Purpose::kTrain;
  std::uint64_t lease_id = 0;
  std::string reason;  // "actor 1 @host stalled", "rewarder 0 @host is gone: …", "surplus" …
  double unix_s = 0;
};
struct GroupRolledOut {
  std::uint64_t group = 0;
  Purpose purpose = Purpose::kTrain;
  std::uint64_t lease_id = 0;
  std::uint64_t lowest_version = 0;
  std::uint64_t tokens = 0;
  double unix_s = 0;
};
struct GroupScored {
  std::uint64_t group = 0;
  Purpose purpose = Purpose::kTrain;
  std::string hash;  // content_hash
  RolloutPlace place;
  std::string rewarder;
  double mean_reward = 0;
  double unix_s = 0;
};
/// A final state other than trained; or, with `again`, a result that is thrown away while the prompt goes back to the
/// front to be leased again under the same number.
struct GroupRefused {
  std::uint64_t group = 0;
  std::string reason;  // stale | filtered | failed | unused
  bool again = false;  // of stale and failed
  double unix_s = 0;
};
/// Write-ahead: the ordered groups of step N, before it touches a gradient.
struct BatchChosen {
  std::int64_t step = 0;
  std::vector<std::uint64_t> groups;
  std::vector<std::string> hashes;
  std::vector<RolloutPlace> places;
  std::int64_t world_size = 1;
};
/// What a step came to, bit for bit: the numbers that a roll-forward or a replay must find again.
struct StepTrained {
  std::int64_t step = 0;
  std::string weights_hash = {};  // empty where run.hash_every left it out
  double unix_s = 0;
  double loss = 0;
  double grad_norm = 0;           // of the last update, before clipping
  std::int64_t world_size = 1;    // that trained it
  std::int64_t run_steps = 0;     // run.steps then: learning-rate schedules depend on it
  std::vector<std::uint64_t> tensor_hashes = {};  // XXH3-64 of each tensor in the model's order; empty with weights_hash
};
/// Whether both came to the same bits, as far as both say.
bool same_numbers(const StepTrained& a, const StepTrained& b);
/// Ends the evaluation of a version; its groups count as evaluated.
struct Evaluated {
  std::uint64_t version = 0;
  double accuracy = 0;
  double mean_reward = 0;
  std::int64_t prompts = 0;
};
struct CheckpointWritten {
  std::int64_t step = 0;
  std::string folder;
};
/// The attempt ends by itself before the run does: preempted, or strict and not learning.
struct AttemptStopped {
  std::int64_t step = 0;
  int exit_code = 0;  // of the learners
  std::string reason;
  double unix_s = 0;
};
/// These files of the rollout log are deleted: nothing that begins at a kept checkpoint needs them. Also after the end.
struct LogsPruned {
  std::int64_t before_step = 0;
  std::vector<std::uint32_t> files;
  double unix_s = 0;
};
struct RunFinished {
  std::int64_t steps = 0;
  std::string final_hash;
  double unix_s = 0;
};

using LedgerRecord = std::variant<RunStarted, AttemptStarted, GroupLeased, LeaseLost, GroupRolledOut, GroupScored,
                                  GroupRefused, BatchChosen, StepTrained, Evaluated, CheckpointWritten, RunFinished,
                                  AttemptStopped, LogsPruned>;

/// Where a group is in its life.
enum class GroupState { kOpen, kLeased, kRolledOut, kScored, kChosen, kTrained, kRefused };

struct GroupEntry {
  GroupState state = GroupState::kOpen;
  std::uint32_t attempts = 0;
  std::uint64_t lease_id = 0;
  std::uint64_t lowest_version = 0;
  std::uint64_t tokens = 0;  // of its completions
  std::string hash;
  RolloutPlace place;
  std::string reason;     // of the last refusal
  std::int64_t step = 0;  // trained at
};

/// What the ledger says, as a pure fold over its records: the same records give the same state, in a restarted hub too.
struct LedgerState {
  std::optional<RunStarted> started;
  std::optional<RunFinished> finished;
  std::optional<AttemptStopped> stopped;  // the last attempt
  std::uint64_t incarnation = 0;  // of the last attempt
  std::int64_t attempts = 0;
  std::int64_t last_chosen_step = 0;
  std::int64_t last_trained_step = 0;
  std::uint64_t next_group = 0;    // the lowest number that was never leased
  std::int64_t diverged_step = 0;  // the first step that came out with other bits when rolled forward; 0: none
  std::map<std::uint64_t, GroupEntry> groups;      // training groups
  std::map<std::uint64_t, GroupEntry> evaluating;  // groups of the evaluation under way, by row
  std::map<std::int64_t, BatchChosen> batches;     // by step
  std::map<std::int64_t, StepTrained> trained;     // by step, as it came out last
  std::map<std::string, std::int64_t> refused;        // final refusals by reason
  std::map<std::string, std::int64_t> refused_again;  // results thrown away whose prompt went back, by reason
  std::uint64_t tokens_generated = 0;                 // of training groups, those refused later included
  std::uint64_t tokens_trained = 0;
  double attempt_began_s = 0;  // unix time
  double earlier_wall_s = 0;   // of the attempts before this one, each up to its last step
  double wall_s = 0;           // of all attempts
  std::vector<Evaluated> evaluations;
  std::vector<CheckpointWritten> checkpoints;
  std::set<std::uint32_t> pruned_files;  // of the rollout log

  /// A new attempt voids the leases of older ones and opens again what was refused as `unused`.
  /// @throws ConfigError naming the record where it breaks an invariant (a group trained twice, steps not consecutive
  /// …).
  void apply(const LedgerRecord& record);
};

/// "rolled out", "scored" …
const char* name_of(GroupState state);

/// True for trained, and for refusals after which the prompt is not leased again.
bool is_final(GroupState state);

/// The ledger file and its state. One thread at a time; while a Hub holds it, only through the hub (Hub::record).
class Ledger {
 public:
  /// Opens or creates `path` and folds what is in it. A torn tail is cut.
  explicit Ledger(const std::filesystem::path& path);
  void append(const LedgerRecord& record);
  void sync();
  const LedgerState& state() const { return state_; }
  std::uint64_t cut_bytes() const { return writer_.cut_bytes(); }

 private:
  FramedFileWriter writer_;
  LedgerState state_;
};

/// A record as the JSON object of its frame, and back. @throws ConfigError starting with `where`, for one of another format with
/// the one found and the one expected.
std::string to_json_text(const LedgerRecord& record);
LedgerRecord ledger_record_of(const Frame& frame, const std::string& where);

/// The batch of `step` as it was chosen, read from the rollout log. @throws ConfigError naming step and group where the
/// step was never chosen or its logs are pruned, or a record does not have the content hash that the ledger names.
std::vector<GroupRecord> read_batch(const LedgerState& state, std::int64_t step, RolloutLogReader& rollouts);

/// Reads a ledger without writing to it (inspect, audit).
LedgerState read_ledger(const std::filesystem::path& path);
std::vector<LedgerRecord> read_ledger_records(const std::filesystem::path& path);

}  // namespace troupe
