#include <doctest/doctest.h>

#include <random>

#include "tests/learner/hub/scheduler_world.h"

// Random deaths, stalls, duplicates and orders of arrival. The batches must be those of a few lines that know of no
// actors.

namespace troupe::test {
namespace {

constexpr std::size_t kPrompts = 3;
constexpr std::int64_t kSteps = 8;

/// Whether the group's rewards differ, as a fixed property of what the version generates.
bool teaches(std::uint64_t group, std::uint64_t version) {
  return (group * 7 + version * 5 + group * version) % 3 != 0;
}

/// The batch rule of PROTOCOL.md at max_lag 0, in one loop.
std::vector<std::vector<std::uint64_t>> batches_by_the_rule() {
  std::vector<std::vector<std::uint64_t>> batches;
  std::uint64_t number = 0;
  for (std::int64_t version = 0; version < kSteps; ++version) {
    auto& batch = batches.emplace_back();
    for (; batch.size() < kPrompts; ++number) {
      if (teaches(number, static_cast<std::uint64_t>(version))) batch.push_back(number);
    }
  }
  return batches;
}

/// A run under random events; the groups of its batches.
class Storm {
 public:
  Storm(std::uint64_t seed, std::uint64_t max_lag) : random_(seed), max_lag_(max_lag) {
    options_.steps = kSteps;
    options_.max_lag = max_lag;
    options_.batch_prompts = kPrompts;
    options_.ahead = 1.7;
    options_.dynamic_sampling = true;
    options_.group_size = 2;
    options_.sampling.max_tokens = 4;
    options_.lease_ms = 500;
    options_.heartbeat_ms = 300;
    scheduler_.emplace(options_, world_.ledger, world_);
    scheduler_->published(0);
  }

  std::vector<std::vector<std::uint64_t>> run() {
    std::vector<std::vector<std::uint64_t>> batches;
    for (int event = 0; event < 200'000 && static_cast<std::int64_t>(batches.size()) < kSteps; ++event) {
      disturb();
      now_ms_ += 10;
      scheduler_->tick(now_ms_);
      scheduler_->schedule(now_ms_);
      if (!scheduler_->batch().empty() && below(3) == 0) batches.push_back(take_batch());
    }
    return batches;
  }

  const SchedulerWorld& world() const { return world_; }

 private:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  PeerId some(const char* role) { return std::string(role) + static_cast<char>('0' + below(3)); }

  void disturb() {
    switch (below(12)) {
      case 0:
        join(Role::kActor, some("actor "));
        return;
      case 1:
        join(Role::kRewarder, some("rewarder "));
        return;
      case 2:
        if (below(4) == 0) scheduler_->leave(some("actor "), "left");
        return;
      case 3:
        if (below(4) == 0) scheduler_->leave(some("rewarder "), "left");
        return;
      case 4:  // a heartbeat without progress: alive, and its leases may stall
        scheduler_->heard(some("actor "), now_ms_);
        scheduler_->heard(some("rewarder "), now_ms_);
        return;
      default:
        below(2) == 0 ? roll_out() : score();
    }
  }
  void join(Role role, const PeerId& id) {
    if (scheduler_->peers().find(id) != nullptr && below(10) != 0) return scheduler_->heard(id, now_ms_);
    scheduler_->join(id, hello_of(role, id), now_ms_);
    scheduler_->credit(id, static_cast<std::uint32_t>(1 + below(3)));
  }
  /// Any lease that there ever was for one of the last groups: the late and second ones are not taken.
  void roll_out() {
    if (world_.leases.empty()) return;
    auto lease = std::prev(world_.leases.end(), static_cast<std::int64_t>(1 + below(world_.leases.size())))->second;
    const PeerId from = below(8) == 0 ? some("actor ") : world_.at.at(lease.lease_id);
    scheduler_->heard(from, now_ms_);
    scheduler_->take_rollout(from, rollout_for(lease, lease.policy_version), now_ms_);
  }
  void score() {
    if (world_.tasks.empty()) return;
    const auto task = std::prev(world_.tasks.end(), static_cast<std::int64_t>(1 + below(world_.tasks.size())))->second;
    const PeerId from = below(8) == 0 ? some("rewarder ") : world_.at.at(task.lease_id);
    scheduler_->heard(from, now_ms_);
    const bool good = teaches(task.group, world_.leases.at(task.group).policy_version);
    scheduler_->take_scores(from, scores_for(task, good ? std::vector<double>{0, 1} : std::vector<double>{1, 1}),
                            now_ms_);
  }
  std::vector<std::uint64_t> take_batch() {
    BatchChosen batch;
    batch.step = world_.ledger.last_chosen_step + 1;
    batch.groups = scheduler_->batch();
    for (const std::uint64_t group : batch.groups) {
      const GroupEntry& entry = world_.ledger.groups.at(group);
      batch.hashes.push_back(entry.hash);
      batch.places.push_back(entry.place);
      CHECK(static_cast<std::uint64_t>(batch.step - 1) - entry.lowest_version <= max_lag_);
    }
    world_.ledger.apply(batch);
    scheduler_->take_batch();
    world_.ledger.apply(StepTrained{batch.step, "", 0});
    scheduler_->published(static_cast<std::uint64_t>(batch.step));
    return batch.groups;
  }

  std::mt19937_64 random_;
  std::uint64_t max_lag_;
  SchedulerOptions options_;
  SchedulerWorld world_;
  std::optional<GroupScheduler> scheduler_;
  std::int64_t now_ms_ = 0;
};

TEST_SUITE("hub/group_scheduler storm") {
  TEST_CASE("at lag 0 deaths, stalls and duplicates change no batch") {
    const auto expected = batches_by_the_rule();
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
      CAPTURE(seed);
      Storm storm(seed, 0);
      const auto batches = storm.run();
      CHECK(batches == expected);
    }
  }

  TEST_CASE("at lag 2 they lose no step, and no group trains twice or too late") {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
      CAPTURE(seed);
      Storm storm(seed, 2);
      const auto batches = storm.run();
      CHECK(batches.size() == kSteps);
      CHECK(storm.world().ledger.last_trained_step == kSteps);
    }
  }
}

}  // namespace
}  // namespace troupe::test
