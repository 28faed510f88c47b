#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "learner/hub/group_scheduler.h"
#include "learner/hub/hub.h"
#include "learner/hub/outbox.h"
#include "learner/hub/weight_shelf.h"

namespace troupe {

/// The hub without its thread: takes frames and the time, answers through the channel, keeps ledger and rollout log.
/// One thread at a time; only `flush` and `say_goodbye` touch the channel.
class HubCore final : private SchedulerSink {
 public:
  HubCore(HubOptions options, HubChannel& channel, Ledger& ledger, PromptSource train, PromptSource held_out,
          Logger logger);

  // Peers.
  /// Handles one frame. A bad one is counted and its sender named; nothing of it is thrown.
  void handle(const Incoming& incoming, std::int64_t now_ms);
  /// Finds dead peers and stalled leases, gives leases and tasks out.
  void advance(std::int64_t now_ms);
  /// Sends what waits and can be sent.
  void flush();
  /// Shutdown to every peer; then what waits, and the actors' and rewarders' answers, until the deadline: ZeroMQ drops what a peer
  /// has received but not read yet when the connection is closed.
  void say_goodbye(int exit_code, const std::string& reason, Deadline deadline);

  // The learner: see Hub.
  void publish(PublishedWeights weights);
  std::optional<std::vector<GroupRecord>> take_batch(std::int64_t step);
  std::optional<std::vector<GroupRecord>> take_evaluation(std::uint64_t version, int prompts);
  void append(const LedgerRecord& record);
  void sync();
  /// All open groups are `unused`: the run is finished.
  void retire_open_groups();
  /// The connected learner rank.
  std::optional<PeerId> learner(std::uint32_t rank) const;
  void forget_restored() { scheduler_->forget_restored(); }
  void post(const PeerId& peer, std::string frame) { outbox_.post(peer, std::move(frame)); }
  bool delivered(const PeerId& peer) const { return outbox_.empty(peer); }
  HubStatus status(std::int64_t now_ms) const;
  std::vector<WeightTaker> weight_takers() const;

  const LedgerState& ledger() const { return ledger_.state(); }

 private:
  Prompt prompt(Purpose purpose, std::uint64_t number) override;
  void send_lease(const PeerId& peer, const Lease& lease) override;
  void send_task(const PeerId& peer, const ScoreTask& task) override;
  void send_revoke(const PeerId& peer, const std::vector<std::uint64_t>& lease_ids) override;
  void record(const LedgerRecord& record) override;
  void log_scored(const GroupRecord& record) override;
  void warn(const std::string& message) override;

  void restore_scored_groups();
  void dispatch(const Incoming& incoming, std::int64_t now_ms);
  void hello(const PeerId& id, const Hello& hello, std::int64_t now_ms);
  /// Why this peer may not join; "" where it may.
  std::string objection_to(const PeerId& id, const Hello& hello) const;
  template <class Result, class Take>
  void result(const Incoming& incoming, Role role, Take take);
  void learner_beat(const PeerId& id, const LearnerBeat& beat);
  void chunk(const PeerId& id, const ChunkRequest& request);
  void refuse(const PeerId& id, const std::string& problem, bool register_again);
  void count_refused(const PeerId& id, const std::string& problem);
  std::string name_of(const PeerId& id) const;

  HubOptions options_;
  HubChannel& channel_;
  Ledger& ledger_;
  PromptSource train_;
  PromptSource held_out_;
  Logger logger_;
  RolloutLogWriter rollouts_;
  Outbox outbox_;
  WeightShelf weights_;
  std::optional<GroupScheduler> scheduler_;  // made after the ledger knows of this attempt
  std::set<PeerId> starting_over_;  // sent a bad frame and were asked to register again
  std::int64_t refused_frames_ = 0;
  std::int64_t late_results_ = 0;
  std::int64_t warnings_held_back_ = 0;
  std::int64_t last_warning_ms_ = -1'000'000;
  std::int64_t now_ms_ = 0;
};

}  // namespace troupe
