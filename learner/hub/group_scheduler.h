#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/config/config.h"
#include "common/messages/messages.h"
#include "common/messages/weight_manifest.h"
#include "learner/hub/ledger.h"
#include "learner/hub/peer_table.h"

namespace troupe {

struct SchedulerOptions {
  std::uint64_t incarnation = 1;
  std::int64_t steps = 1;
  std::uint64_t max_lag = 0;
  std::size_t batch_prompts = 1;
  double ahead = 1.25;
  bool dynamic_sampling = false;
  std::uint32_t group_size = 1;
  SamplingParams sampling;
  std::uint64_t train_seed = 0;
  std::uint64_t evaluate_seed = 0;
  std::int64_t vocabulary = 0;  // ids are below it; 0: not known
  std::int64_t lease_ms = 60000;
  std::int64_t heartbeat_ms = 10000;
};

/// The options that a configuration gives.
SchedulerOptions scheduler_options(const Config& config, std::uint64_t incarnation);

struct Prompt {
  std::vector<std::int32_t> ids;
  std::string row;  // JSON, for the rewarder
};

/// What the scheduler asks of the world, called in order from within its methods; must not call back.
class SchedulerSink {
 public:
  virtual ~SchedulerSink() = default;
  virtual Prompt prompt(Purpose purpose, std::uint64_t number) = 0;
  virtual void send_lease(const PeerId& peer, const Lease& lease) = 0;
  virtual void send_task(const PeerId& peer, const ScoreTask& task) = 0;
  virtual void send_revoke(const PeerId& peer, const std::vector<std::uint64_t>& lease_ids) = 0;
  virtual void record(const LedgerRecord& record) = 0;
  /// The group has its scores: into the rollout log, and GroupScored into the ledger.
  virtual void log_scored(const GroupRecord& record) = 0;
  virtual void warn(const std::string& message) = 0;
};

/// The life of every group from its lease to the learner: prompt order, admission, leases and their deadlines, the
/// batch rule of PROTOCOL.md, refusals. Pure: no threads, sockets, files or clock; the same calls give the same calls
/// to the sink.
class GroupScheduler {
 public:
  /// Takes over the numbers that `ledger` has open, and its next number and step. Scored ones come by `restore`.
  GroupScheduler(SchedulerOptions options, const LedgerState& ledger, SchedulerSink& sink);

  /// A scored group of an earlier attempt: kept where its version still fits, else refused as stale and leased again.
  void restore(GroupRecord record);
  /// Every restored group is generated anew: the weights of its version are others now. Before anything is leased.
  void forget_restored();

  // Peers.
  /// A Hello; leases of an earlier registration of the same process are void.
  void join(const PeerId& id, const Hello& hello, std::int64_t now_ms);
  /// The peer is no more; its leases are given to others.
  void leave(const PeerId& id, const std::string& reason);
  void heard(const PeerId& id, std::int64_t now_ms);
  void credit(const PeerId& id, std::uint32_t groups);
  void weight_member(const PeerId& id, const WeightMember& member);
  /// Renews the leases that made progress; those that wait for their turn (no tokens yet) where another one did.
  void heartbeat(const PeerId& id, const Heartbeat& beat, std::int64_t now_ms);
  const PeerTable& peers() const { return peers_; }

  /// The actor cannot carry out this lease: it goes to another one, and this one rests for a while.
  void decline(const PeerId& id, std::uint64_t lease_id, const std::string& reason, std::int64_t now_ms);

  // Results. True: taken. False: the lease is no longer the peer's, the result is late or a duplicate.
  // @throws ProtocolError naming the field that breaks the lease, which is then taken back.
  bool take_rollout(const PeerId& id, RolloutGroup rollout, std::int64_t now_ms);
  bool take_scores(const PeerId& id, ScoredGroup scored, std::int64_t now_ms);

  // The learner.
  /// `version` is now the newest one that actors can fetch.
  void published(std::uint64_t version);
  void begin_evaluation(std::uint64_t version, std::size_t prompts);
  /// The version under evaluation.
  std::optional<std::uint64_t> evaluating() const { return evaluation_version_; }
  /// All rows' records in order once they are scored; ends the evaluation. A score without reward stays without.
  std::optional<std::vector<GroupRecord>> take_evaluation();
  /// The numbers of the next step's batch in training order; empty while it is not complete.
  std::vector<std::uint64_t> batch() const;
  /// Hands the batch out, after its record is in the ledger; later steps' staleness counts from here.
  std::vector<GroupRecord> take_batch();

  /// Finds dead peers and stalled leases.
  void tick(std::int64_t now_ms);
  /// Gives leases and tasks to peers with room.
  void schedule(std::int64_t now_ms);

  // Status.
  std::int64_t leased() const;
  std::int64_t scoring() const;
  std::int64_t scored() const;
  std::int64_t expired_leases() const { return expired_leases_; }
  /// What the run waits for, in words; empty where a batch or evaluation is complete or nothing is asked of the peers.
  std::string waiting_for(const std::string& endpoint, std::int64_t now_ms) const;

 private:
  enum class Stage { kOpen, kLeased, kToScore, kScoring, kScored, kFailed };
  struct Group {
    Stage stage = Stage::kOpen;
    std::uint32_t attempts = 0;
    std::uint64_t policy_version = 0;  // of the lease
    std::uint64_t lowest_version = 0;  // of the tokens
    std::uint64_t lease_id = 0;        // of the actor or rewarder that has it
    PeerId holder;
    std::int64_t since_ms = 0;
    std::int64_t deadline_ms = 0;
    std::uint64_t progress = 0;
    int failed_scorings = 0;
    int failed_generations = 0;
    GroupRecord record;
  };
  struct Ready {
    GroupRecord record;
    std::uint64_t lowest_version = 0;
    std::uint32_t attempts = 0;
  };
  struct Key {
    Purpose purpose = Purpose::kTrain;
    std::uint64_t number = 0;
    bool operator==(const Key&) const = default;
  };

  std::map<std::uint64_t, Group>& groups(Purpose purpose) { return purpose == Purpose::kTrain ? train_ : evaluate_; }
  Group& group(const Key& key) { return groups(key.purpose).at(key.number); }
  /// The group that this peer holds under this lease in this stage.
  Group* held(const PeerId& id, std::uint64_t lease_id, Purpose purpose, std::uint64_t number, Stage stage);

  bool may_lease_training() const;
  std::size_t admitted() const;
  std::size_t busy() const;
  std::optional<Key> next_to_lease();
  void give_lease(const PeerId& id, const Key& key, std::int64_t now_ms);
  void give_task(const PeerId& id, const Key& key, std::int64_t now_ms);
  void hold(Group& g, const Key& key, const PeerId& id, std::int64_t now_ms);
  void release(Group& g);
  void take_back(Key key, const std::string& reason, bool revoke);
  void fault(const PeerId& id, std::int64_t now_ms);
  /// The result of a lease is in. @throws ProtocolError where it has a problem; the group is then open again.
  void end_lease(Group& g, const Key& key, const PeerId& id, const std::string& problem, std::int64_t now_ms);
  void reopen(Group& g);
  void refuse(std::uint64_t number, const std::string& reason, bool again);
  void return_to_front(std::uint64_t number, const std::string& lease_reason);
  bool too_stale(std::uint64_t lowest_version) const { return chosen_step_ > lowest_version + options_.max_lag; }
  void drop_stale();
  void scoring_failed(const Key& key);
  void settle(const Key& key);
  void accept(std::uint64_t number);
  void decide_in_order();
  bool filtered(const GroupRecord& record) const;
  std::string slowest(Stage stage, Role role, std::int64_t now_ms) const;
  std::int64_t count(Stage stage) const;

  SchedulerOptions options_;
  SchedulerSink& sink_;
  PeerTable peers_;
  std::uint64_t gpu_offers_ = 0;
  std::map<std::uint64_t, Group> train_;     // numbers below next_group_ that are not decided
  std::map<std::uint64_t, Group> evaluate_;  // of the evaluation under way
  std::map<std::uint64_t, Key> leases_;
  std::deque<Key> to_score_;
  std::deque<Ready> ready_;  // accepted for the coming batches, in training order
  std::optional<std::uint64_t> newest_version_;
  std::optional<std::uint64_t> evaluation_version_;
  std::uint64_t next_group_ = 0;
  std::uint64_t chosen_step_ = 0;
  std::uint64_t next_lease_ = 1;
  std::int64_t expired_leases_ = 0;
  std::int64_t last_rollout_ms_ = 0;
  std::int64_t last_scores_ms_ = 0;
};

}  // namespace troupe
