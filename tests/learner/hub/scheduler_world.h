#pragma once

// A world for GroupScheduler: notes what it is asked for, and keeps a ledger state, so that every test also checks that
// the records keep to the ledger's invariants.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "learner/hub/group_scheduler.h"

namespace troupe::test {

struct SchedulerWorld final : SchedulerSink {
  LedgerState ledger;
  std::vector<std::string> trace;  // "lease 3 v0 to a", "task 3 to r", "revoke 3 from a", "refused 3 stale again" …
  std::map<std::uint64_t, Lease> leases;       // the last one of each training group
  std::map<std::uint64_t, Lease> evaluations;  // likewise of each row
  std::map<std::uint64_t, ScoreTask> tasks;    // the last one of each group
  std::map<std::uint64_t, PeerId> at;          // who has a lease
  std::vector<std::string> warnings;

  SchedulerWorld() {
    ledger.apply(RunStarted{"", "", "", "run"});
    ledger.apply(AttemptStarted{1, 0, 0});
  }

  std::vector<std::string> take_trace() { return std::exchange(trace, {}); }

  Prompt prompt(Purpose purpose, std::uint64_t number) override {
    return {{static_cast<std::int32_t>(number)}, purpose == Purpose::kTrain ? "train row" : "held-out row"};
  }
  void send_lease(const PeerId& peer, const Lease& lease) override {
    const bool evaluate = lease.purpose == Purpose::kEvaluate;
    (evaluate ? evaluations : leases)[lease.group] = lease;
    at[lease.lease_id] = peer;
    note((evaluate ? "evaluate " : "lease ") + std::to_string(lease.group) + " v" +
         std::to_string(lease.policy_version) + " to " + peer);
  }
  void send_task(const PeerId& peer, const ScoreTask& task) override {
    tasks[task.group] = task;
    at[task.lease_id] = peer;
    note("task " + std::to_string(task.group) + " to " + peer);
  }
  void send_revoke(const PeerId& peer, const std::vector<std::uint64_t>& ids) override {
    for (const std::uint64_t id : ids) note("revoke " + group_of(id) + " from " + peer);
  }
  void record(const LedgerRecord& record) override {
    ledger.apply(record);
    if (const auto* r = std::get_if<GroupRefused>(&record)) {
      note("refused " + std::to_string(r->group) + " " + r->reason + (r->again ? " again" : ""));
    }
    if (const auto* r = std::get_if<LeaseLost>(&record))
      note("lost " + std::to_string(r->group) + " (" + r->reason + ")");
  }
  void log_scored(const GroupRecord& record) override {
    ledger.apply(GroupScored{record.group, record.purpose, "h" + std::to_string(record.group), {}, record.rewarder, 0});
  }
  void warn(const std::string& message) override { warnings.push_back(message); }

 private:
  void note(std::string line) { trace.push_back(std::move(line)); }
  std::string group_of(std::uint64_t lease_id) const {
    for (const auto* all : {&leases, &evaluations}) {
      for (const auto& [group, lease] : *all) {
        if (lease.lease_id == lease_id) return std::to_string(group);
      }
    }
    for (const auto& [group, task] : tasks) {
      if (task.lease_id == lease_id) return std::to_string(group);
    }
    return "?";
  }
};

inline Hello hello_of(Role role, const std::string& name, std::uint64_t pid = 1) {
  Hello hello;
  hello.role = role;
  hello.name = name;
  hello.host = "host";
  hello.pid = pid;
  return hello;
}

/// What an honest actor answers: `tokens` tokens for each sample, all drawn by `version`.
inline RolloutGroup rollout_for(const Lease& lease, std::uint64_t version, std::size_t tokens = 1) {
  RolloutGroup rollout;
  rollout.lease_id = lease.lease_id;
  rollout.incarnation = lease.incarnation;
  rollout.group = lease.group;
  rollout.purpose = lease.purpose;
  for (std::uint32_t s = 0; s < lease.samples; ++s) {
    Completion c;
    c.sample = s;
    c.token_ids.assign(tokens, static_cast<std::int32_t>(lease.group % 7));
    c.logprobs.assign(tokens, -1.0F);
    c.versions.assign(tokens, version);
    c.text = "answer";
    rollout.completions.push_back(c);
  }
  return rollout;
}

/// Scores with these rewards, in sample order; NaN stands for a verifier that failed.
inline ScoredGroup scores_for(const ScoreTask& task, const std::vector<double>& rewards) {
  ScoredGroup scored;
  scored.lease_id = task.lease_id;
  scored.incarnation = task.incarnation;
  scored.group = task.group;
  scored.purpose = task.purpose;
  for (const double reward : rewards) {
    Score score;
    if (reward == reward) score.reward = reward;
    scored.scores.push_back(score);
  }
  return scored;
}

}  // namespace troupe::test
