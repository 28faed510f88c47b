#pragma once

#include <doctest/doctest.h>

#include <limits>

#include "learner/hub/group_scheduler.h"
#include "tests/learner/hub/scheduler_world.h"

namespace troupe::test {

using Lines = std::vector<std::string>;
inline const double kFailed = std::numeric_limits<double>::quiet_NaN();

/// A scheduler with actors "a", "b" … of unbounded credit and a rewarder "r".
struct SchedulerBench {
  SchedulerOptions options;
  SchedulerWorld world;
  std::optional<GroupScheduler> scheduler;
  std::int64_t now_ms = 0;

  explicit SchedulerBench(std::uint64_t max_lag = 0, std::size_t prompts = 2) {
    options.steps = 100;
    options.max_lag = max_lag;
    options.batch_prompts = prompts;
    options.ahead = 1.25;
    options.group_size = 2;
    options.sampling.max_tokens = 4;
    options.vocabulary = 10;
    options.lease_ms = 1000;
    options.heartbeat_ms = 400;
  }
  GroupScheduler& start() { return scheduler.emplace(options, world.ledger, world); }
  GroupScheduler& operator*() { return *scheduler; }

  void actor(const PeerId& id, std::uint32_t credit = 100) { peer(Role::kActor, id, credit); }
  void rewarder(const PeerId& id, std::uint32_t credit = 100) { peer(Role::kRewarder, id, credit); }
  void peer(Role role, const PeerId& id, std::uint32_t credit) {
    scheduler->join(id, hello_of(role, id), now_ms);
    scheduler->credit(id, credit);
  }
  /// Lets time pass while these peers send heartbeats without progress.
  void pass(std::int64_t ms, const Lines& living) {
    for (std::int64_t t = 0; t < ms; t += 100) {
      now_ms += 100;
      for (const PeerId& id : living) scheduler->heard(id, now_ms);
      scheduler->tick(now_ms);
    }
  }
  void schedule() { scheduler->schedule(now_ms); }
  void roll_out(std::uint64_t group, std::uint64_t version) {
    const Lease lease = world.leases.at(group);
    CHECK(scheduler->take_rollout(world.at.at(lease.lease_id), rollout_for(lease, version), now_ms));
  }
  void score(std::uint64_t group, const std::vector<double>& rewards = {0, 1}) {
    const ScoreTask task = world.tasks.at(group);
    CHECK(scheduler->take_scores(world.at.at(task.lease_id), scores_for(task, rewards), now_ms));
  }
  /// From its lease to its scores.
  void finish(std::uint64_t group, std::uint64_t version, const std::vector<double>& rewards = {0, 1}) {
    roll_out(group, version);
    schedule();
    score(group, rewards);
  }
  /// Records and takes the batch, as the hub does.
  std::vector<std::uint64_t> take_batch() {
    BatchChosen batch;
    batch.step = world.ledger.last_chosen_step + 1;
    batch.groups = scheduler->batch();
    for (const std::uint64_t group : batch.groups) {
      batch.hashes.push_back(world.ledger.groups.at(group).hash);
      batch.places.push_back(world.ledger.groups.at(group).place);
    }
    world.ledger.apply(batch);
    std::vector<std::uint64_t> numbers;
    for (const GroupRecord& record : scheduler->take_batch()) numbers.push_back(record.group);
    CHECK(numbers == batch.groups);
    return numbers;
  }
};

}  // namespace troupe::test
