#include "learner/hub/group_scheduler.h"

#include <doctest/doctest.h>

#include <limits>

#include "tests/learner/hub/scheduler_world.h"

namespace troupe::test {
namespace {

using Lines = std::vector<std::string>;
const double kFailed = std::numeric_limits<double>::quiet_NaN();

/// A scheduler with actors "a", "b" … of unbounded credit and a rewarder "r".
struct Bench {
  SchedulerOptions options;
  SchedulerWorld world;
  std::optional<GroupScheduler> scheduler;
  std::int64_t now_ms = 0;

  explicit Bench(std::uint64_t max_lag = 0, std::size_t prompts = 2) {
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

TEST_SUITE("hub/group_scheduler") {
  TEST_CASE("groups are leased in prompt order to the peer with the fewest leases, never beyond its credit") {
    Bench bench(0, 5);
    bench.start().published(0);
    bench.actor("a", 2);
    bench.actor("b", 1);

    bench.schedule();

    CHECK(bench.world.trace == Lines{"lease 0 v0 to a", "lease 1 v0 to b", "lease 2 v0 to a"});
    const Lease& lease = bench.world.leases.at(2);
    CHECK(lease.samples == 2);
    CHECK(lease.prompt_ids == std::vector<std::int32_t>{2});
    CHECK((lease.lease_id >> 48) == 1);
    CHECK((*bench).leased() == 3);
  }

  TEST_CASE("nothing is leased before a version is published") {
    Bench bench;
    bench.start();
    bench.actor("a");

    bench.schedule();

    CHECK(bench.world.trace.empty());
  }

  TEST_CASE(
      "admission is (max_lag + 1) x prompts x ahead open groups, and the bare batch where no filter can want more") {
    struct Case {
      std::uint64_t max_lag;
      std::size_t prompts;
      bool dynamic;
      std::int64_t steps;
      std::int64_t leased;
    };
    // 2 x 1.25 = 2.5: the third group is leased while 2 < 2.5 are open; 2 x 2 x 1.25 = 5. In the last step only its own
    // batch counts.
    for (const Case& c : {Case{0, 2, false, 9, 2}, Case{0, 2, true, 9, 3}, Case{1, 2, false, 9, 5},
                          Case{1, 2, false, 1, 3}, Case{0, 4, true, 9, 5}}) {
      Bench bench(c.max_lag, c.prompts);
      bench.options.dynamic_sampling = c.dynamic;
      bench.options.steps = c.steps;
      bench.start().published(0);
      bench.actor("a");
      bench.schedule();
      CHECK((*bench).leased() == c.leased);
    }
  }

  TEST_CASE("at lag 0 the batch is the first groups by number, whatever order they arrive in") {
    Bench bench(0, 3);
    bench.start().published(0);
    bench.actor("a");
    bench.rewarder("r");
    bench.schedule();

    bench.finish(2, 0);
    bench.finish(0, 0);
    CHECK((*bench).batch().empty());
    bench.finish(1, 0);

    CHECK(bench.take_batch() == std::vector<std::uint64_t>{0, 1, 2});
  }

  TEST_CASE("at lag 0 nothing is leased between a complete batch and the next version") {
    Bench bench(0, 1);
    bench.start().published(0);
    bench.actor("a");
    bench.rewarder("r");
    bench.schedule();
    bench.finish(0, 0);
    bench.world.take_trace();

    bench.schedule();
    bench.take_batch();
    bench.schedule();
    CHECK(bench.world.take_trace().empty());

    (*bench).published(1);
    bench.schedule();
    CHECK(bench.world.take_trace() == Lines{"lease 1 v1 to a"});
  }

  TEST_CASE("surplus groups, leased, in scoring or scored, return to the front and are generated anew") {
    Bench bench(0, 4);
    bench.options.dynamic_sampling = true;
    bench.options.ahead = 2;
    bench.start().published(0);
    bench.actor("a");
    bench.rewarder("r");
    bench.schedule();
    for (const std::uint64_t group : {0U, 1U, 2U}) bench.finish(group, 0);
    bench.finish(4, 0, {1, 1});  // scored, and a filter would refuse it: but its turn never comes
    bench.roll_out(5, 0);
    bench.schedule();
    bench.roll_out(6, 0);  // waits for a rewarder
    bench.world.take_trace();

    bench.roll_out(3, 0);
    bench.schedule();
    bench.score(3);

    CHECK(bench.world.take_trace() == Lines{"task 6 to r", "task 3 to r", "refused 4 stale again", "revoke 5 from r",
                                            "refused 5 stale again", "revoke 6 from r", "refused 6 stale again",
                                            "revoke 7 from a", "lost 7 (surplus of step 1)"});
    CHECK(bench.take_batch() == std::vector<std::uint64_t>{0, 1, 2, 3});
    (*bench).published(1);
    bench.schedule();
    CHECK(bench.world.take_trace().front() == "lease 4 v1 to a");
    CHECK(bench.world.leases.at(4).attempt == 1);
    CHECK(bench.world.ledger.refused.empty());
  }

  TEST_CASE("a group that waits for a rewarder when it becomes surplus is not scored any more") {
    Bench bench(0, 1);
    bench.options.dynamic_sampling = true;
    bench.start().published(0);
    bench.actor("a");
    bench.rewarder("r", 1);
    bench.schedule();
    bench.roll_out(0, 0);
    bench.schedule();
    bench.roll_out(1, 0);
    bench.score(0);
    bench.world.take_trace();

    bench.schedule();

    CHECK(bench.world.trace.empty());
  }

  TEST_CASE(
      "with dynamic sampling a group of equal rewards is refused in its turn and the next number fills its place") {
    Bench bench(0, 2);
    bench.options.dynamic_sampling = true;
    bench.start().published(0);
    bench.actor("a");
    bench.rewarder("r");
    bench.schedule();
    bench.finish(1, 0, {1, 1});
    bench.world.take_trace();

    bench.schedule();
    CHECK(bench.world.take_trace().empty());  // the decision on 1 waits for 0
    bench.finish(0, 0, {0, 1});
    CHECK(bench.world.take_trace() == Lines{"task 0 to r", "refused 1 filtered"});
    bench.finish(2, 0, {0, 0.5});

    CHECK(bench.take_batch() == std::vector<std::uint64_t>{0, 2});
    CHECK(bench.world.ledger.refused == std::map<std::string, std::int64_t>{{"filtered", 1}});
  }

  TEST_CASE("without dynamic sampling groups of equal rewards train") {
    Bench bench(0, 1);
    bench.start().published(0);
    bench.actor("a");
    bench.rewarder("r");
    bench.schedule();
    bench.finish(0, 0, {1, 1});
    CHECK(bench.take_batch() == std::vector<std::uint64_t>{0});
  }

  TEST_CASE("at lag 1 the batch is in arrival order and a group may lag by one version, not by two") {
    Bench bench(1, 2);
    bench.start().published(0);
    bench.actor("a");
    bench.rewarder("r");
    bench.schedule();  // 0 … 4
    bench.finish(3, 0);
    bench.finish(1, 0);
    bench.finish(0, 0);
    CHECK(bench.take_batch() == std::vector<std::uint64_t>{3, 1});
    (*bench).published(1);

    bench.finish(2, 0);  // lag 1 in step 2: taken
    CHECK(bench.take_batch() == std::vector<std::uint64_t>{0, 2});
    (*bench).published(2);
    bench.world.take_trace();
    bench.roll_out(4, 0);  // would lag by 2 in step 3

    bench.schedule();
    const Lines trace = bench.world.take_trace();
    CHECK(trace.at(0) == "refused 4 stale again");
    CHECK(trace.at(1) == "lease 4 v2 to a");  // at the front again
  }

  TEST_CASE("at lag 1 what became too stale while it waited is refused when the batch is taken") {
    Bench bench(1, 1);
    bench.options.ahead = 3;
    bench.start().published(0);
    bench.actor("a");
    bench.rewarder("r", 2);
    bench.schedule();  // 0 … 5
    bench.finish(0, 0);
    bench.finish(1, 0);
    bench.finish(2, 0);
    bench.roll_out(3, 0);
    bench.schedule();
    bench.roll_out(4, 0);
    bench.take_batch();
    (*bench).published(1);
    bench.world.take_trace();

    CHECK(bench.take_batch() == std::vector<std::uint64_t>{1});

    CHECK(bench.world.take_trace() ==
          Lines{"revoke 3 from r", "refused 3 stale again", "refused 4 stale again", "refused 2 stale again"});
  }

  TEST_CASE("tokens of versions from the lease's to the newest are taken at lag 1; the lowest one counts") {
    Bench bench(1, 1);
    bench.start().published(0);
    bench.actor("a");
    bench.schedule();
    (*bench).published(1);
    const Lease lease = bench.world.leases.at(0);
    RolloutGroup rollout = rollout_for(lease, 0, 2);
    rollout.completions[1].versions[1] = 1;

    CHECK((*bench).take_rollout("a", rollout, 0));

    CHECK(bench.world.ledger.groups.at(0).lowest_version == 0);
  }

  TEST_CASE("a silent peer is dead after the heartbeat's time and its leases are given to others") {
    Bench bench(0, 2);
    bench.start().published(0);
    bench.actor("a", 1);
    bench.actor("b", 1);
    bench.schedule();
    bench.world.take_trace();

    bench.pass(300, {"b"});
    CHECK(bench.world.trace.empty());
    bench.pass(100, {"b"});
    CHECK(bench.world.take_trace() == Lines{"lost 0 (a: gone, silent for 0.4 s)"});
    CHECK(bench.world.warnings.at(0) == "a pid 1 is gone, silent for 0.4 s; its 1 leases are given to others");
    CHECK((*bench).peers().count(Role::kActor) == 1);

    (*bench).credit("b", 2);
    bench.schedule();
    CHECK(bench.world.take_trace() == Lines{"lease 0 v0 to b"});
    CHECK(bench.world.leases.at(0).attempt == 1);
  }

  TEST_CASE("the first result is taken; a second one, or one of a lease taken back, is not") {
    Bench bench(0, 1);
    bench.start().published(0);
    bench.actor("a");
    bench.schedule();
    const RolloutGroup first = rollout_for(bench.world.leases.at(0), 0);
    (*bench).leave("a", "left");
    bench.actor("b");
    bench.schedule();
    const RolloutGroup second = rollout_for(bench.world.leases.at(0), 0);
    bench.actor("a");

    CHECK_FALSE((*bench).take_rollout("a", first, 0));   // taken back
    CHECK_FALSE((*bench).take_rollout("a", second, 0));  // another's lease
    CHECK((*bench).take_rollout("b", second, 0));
    CHECK_FALSE((*bench).take_rollout("b", second, 0));  // once is enough
  }

  TEST_CASE(
      "a lease is renewed by its progress, or while it waits for its turn by that of others, not by heartbeats alone") {
    Bench bench(0, 4);
    bench.start().published(0);
    bench.actor("a");
    bench.schedule();
    const auto id = [&](std::uint64_t group) { return bench.world.leases.at(group).lease_id; };
    bench.world.take_trace();
    (*bench).heartbeat("a", {0, 5.0, {{id(3), 3}}}, bench.now_ms);

    bench.pass(900, {"a"});
    // 0 went on, 1 waits for its turn, nothing is said of 2, and 3 hangs after its third token.
    (*bench).heartbeat("a", {0, 5.0, {{id(0), 7}, {id(1), 0}, {id(3), 3}}}, bench.now_ms);
    bench.pass(100, {"a"});

    CHECK(bench.world.take_trace() ==
          Lines{"revoke 2 from a", "lost 2 (a: stalled for 1 s)", "revoke 3 from a", "lost 3 (a: stalled for 1 s)"});
    CHECK(bench.world.warnings.at(0) == "a pid 1 made no progress on group 2 for 1 s; the lease is taken back");
    bench.pass(800, {"a"});
    (*bench).heartbeat("a", {0, 5.0, {{id(0), 7}, {id(1), 0}}}, bench.now_ms);  // the same 7 tokens: no progress
    bench.pass(100, {"a"});
    CHECK((*bench).expired_leases() == 4);
  }

  TEST_CASE("a peer that stalled gets nothing for a while, and later only what others have no room for") {
    Bench bench(0, 3);
    bench.start().published(0);
    bench.actor("a", 1);
    bench.schedule();
    bench.pass(1000, {"a"});
    bench.world.take_trace();

    bench.schedule();
    CHECK(bench.world.take_trace().empty());
    bench.pass(100, {"a"});
    bench.actor("b", 2);
    bench.schedule();
    CHECK(bench.world.take_trace() == Lines{"lease 0 v0 to b", "lease 1 v0 to b", "lease 2 v0 to a"});
  }

  TEST_CASE("a result that breaks its lease is refused by field, and the group leased again") {
    struct Case {
      void (*spoil)(RolloutGroup&);
      const char* problem;
    };
    const Case cases[] = {
        {[](RolloutGroup& r) { r.completions.pop_back(); },
         "RolloutGroup of group 0: completions: expected 2, found 1"},
        {[](RolloutGroup& r) { r.completions[1].token_ids.assign(5, 1); },
         "RolloutGroup of group 0: completions[1].token_ids: expected at most 4 tokens, found 5"},
        {[](RolloutGroup& r) { r.completions[0].token_ids[0] = 10; },
         "RolloutGroup of group 0: completions[0].token_ids: expected ids below 10, found 10"},
        {[](RolloutGroup& r) { r.completions[0].versions[0] = 1; },
         "RolloutGroup of group 0: completions[0].versions: expected policy versions of 0 to 0, found 1"},
    };
    for (const Case& c : cases) {
      Bench bench(0, 1);
      bench.start().published(0);
      bench.actor("a");
      bench.schedule();
      bench.actor("b");
      RolloutGroup rollout = rollout_for(bench.world.leases.at(0), 0, 4);
      c.spoil(rollout);
      bench.world.take_trace();

      CHECK_THROWS_WITH_AS((*bench).take_rollout("a", rollout, 0), c.problem, ProtocolError);

      bench.schedule();
      CHECK(bench.world.take_trace() ==
            Lines{"revoke 0 from a", std::string("lost 0 (a: refused, ") + c.problem + ")", "lease 0 v0 to b"});
    }
  }

  TEST_CASE("a dead rewarder's tasks are scored by another; a wrong number of scores is refused") {
    Bench bench(0, 1);
    bench.start().published(0);
    bench.actor("a");
    bench.rewarder("r");
    bench.schedule();
    bench.roll_out(0, 0);
    bench.schedule();
    const ScoreTask lost = bench.world.tasks.at(0);
    (*bench).leave("r", "left");
    bench.rewarder("s");
    bench.schedule();
    const ScoreTask task = bench.world.tasks.at(0);

    CHECK(task.completions == lost.completions);
    CHECK(task.lease_id != lost.lease_id);
    CHECK_FALSE((*bench).take_scores("s", scores_for(lost, {0, 1}), 0));
    CHECK_THROWS_WITH_AS((*bench).take_scores("s", scores_for(task, {1}), 0),
                         "ScoredGroup of group 0: scores: expected 2, found 1", ProtocolError);
    bench.now_ms += 100;  // the fault's pause
    bench.schedule();
    bench.score(0);
    CHECK(bench.take_batch() == std::vector<std::uint64_t>{0});
  }

  TEST_CASE("a failed verifier is tried once more, then the group generated anew twice, then given up") {
    for (const std::uint64_t max_lag : {0U, 1U}) {
      Bench bench(max_lag, 1);
      bench.options.ahead = 1;
      bench.start().published(0);
      bench.actor("a");
      bench.rewarder("r");
      bench.schedule();
      for (std::uint32_t attempt = 0; attempt < 3; ++attempt) {
        CHECK(bench.world.leases.at(0).attempt == attempt);
        bench.finish(0, 0, {1, kFailed});
        bench.schedule();
        bench.world.take_trace();
        bench.score(0, {kFailed, 1});
        const Lines expected{attempt < 2 ? "refused 0 failed again" : "refused 0 failed"};
        CHECK(bench.world.take_trace() == expected);
        bench.schedule();
      }
      CHECK(bench.world.ledger.refused == std::map<std::string, std::int64_t>{{"failed", 1}});
      CHECK(bench.world.ledger.refused_again == std::map<std::string, std::int64_t>{{"failed", 2}});
      bench.finish(1, 0);
      CHECK(bench.take_batch() == std::vector<std::uint64_t>{1});
    }
  }

  TEST_CASE(
      "evaluation groups go first, greedily, under the version asked for, and come back in the order of the rows") {
    Bench bench(0, 2);
    bench.options.sampling.temperature = 0.7;
    bench.options.train_seed = 5;
    bench.options.evaluate_seed = 6;
    bench.start().published(0);
    bench.actor("a", 3);
    bench.rewarder("r");
    (*bench).begin_evaluation(0, 2);

    bench.schedule();

    CHECK(bench.world.trace == Lines{"evaluate 0 v0 to a", "evaluate 1 v0 to a", "lease 0 v0 to a"});
    const Lease lease = bench.world.evaluations.at(0);
    CHECK(lease.sampling.temperature == 0);
    CHECK(lease.samples == 1);
    CHECK(lease.seed == 6);
    CHECK(bench.world.leases.at(0).sampling.temperature == 0.7);
    CHECK(bench.world.leases.at(0).seed == 5);
    for (const std::uint64_t row : {1U, 0U}) {
      CHECK_FALSE((*bench).take_evaluation());
      CHECK((*bench).take_rollout("a", rollout_for(bench.world.evaluations.at(row), 0), 0));
      bench.schedule();
      bench.score(row, {kFailed});
      bench.schedule();
      bench.score(row, {kFailed});  // twice: evaluated without a reward
    }
    const auto records = (*bench).take_evaluation();
    REQUIRE(records);
    CHECK(records->size() == 2);
    CHECK(records->at(0).group == 0);
    CHECK_FALSE(records->at(1).scores.at(0).reward);
    CHECK_FALSE((*bench).evaluating());
  }

  TEST_CASE("after the last batch is chosen nothing more is leased and running leases are taken back") {
    Bench bench(1, 1);
    bench.options.steps = 1;
    bench.options.ahead = 2;
    bench.start().published(0);
    bench.actor("a");
    bench.rewarder("r");
    bench.schedule();
    bench.finish(1, 0);
    bench.world.take_trace();

    bench.take_batch();
    (*bench).published(1);
    bench.schedule();

    CHECK(bench.world.take_trace() == Lines{"revoke 0 from a", "lost 0 (the last batch is chosen)"});
  }

  TEST_CASE("a Hello of a registered peer, or of the same process over another connection, voids the old leases") {
    for (const char* id : {"a", "a-again"}) {
      Bench bench(0, 1);
      bench.start().published(0);
      bench.actor("a");
      bench.schedule();
      bench.world.take_trace();

      (*bench).join(id, hello_of(Role::kActor, "a"), 0);

      CHECK(bench.world.take_trace() == Lines{"lost 0 (a: registered again)"});
      CHECK((*bench).peers().count(Role::kActor) == 1);
    }
  }

  TEST_CASE(
      "a restarted scheduler leases open groups again, keeps scored ones that fit, and refuses those that do not") {
    for (const std::uint64_t max_lag : {0U, 1U}) {
      Bench before(max_lag, 3);
      before.start().published(0);
      before.actor("a");
      before.rewarder("r");
      before.schedule();
      before.finish(1, 0);
      before.roll_out(2, 0);

      Bench after(max_lag, 3);
      after.world.ledger = before.world.ledger;
      after.options.incarnation = 2;
      after.world.ledger.apply(AttemptStarted{2, 0, 0});
      after.start();
      GroupRecord record;
      record.group = 1;
      record.completions = rollout_for(before.world.leases.at(1), 0).completions;
      record.scores = scores_for(before.world.tasks.at(1), {0, 1}).scores;
      (*after).restore(record);
      (*after).published(0);
      after.actor("b", 2);
      after.rewarder("r");
      after.schedule();

      CHECK(after.world.take_trace() == Lines{"lease 0 v0 to b", "lease 2 v0 to b"});
      CHECK(after.world.leases.at(2).attempt == 1);
      CHECK((after.world.leases.at(0).lease_id >> 48) == 2);
      CHECK_FALSE((*after).take_rollout("b", rollout_for(before.world.leases.at(0), 0), 0));
      after.finish(2, 0);
      after.finish(0, 0);
      const std::vector<std::uint64_t> by_number{0, 1, 2}, by_arrival{1, 2, 0};
      CHECK(after.take_batch() == (max_lag == 0 ? by_number : by_arrival));
    }
  }

  TEST_CASE("a restored group of another version is generated anew at lag 0") {
    Bench before(0, 1);
    before.options.dynamic_sampling = true;
    before.start().published(0);
    before.actor("a");
    before.rewarder("r");
    before.schedule();
    before.finish(1, 0);
    LedgerState ledger = before.world.ledger;
    ledger.last_chosen_step = 1;  // as if step 1 had been chosen of other groups
    Bench after(0, 1);
    after.world.ledger = ledger;
    after.start();
    GroupRecord record;
    record.group = 1;
    record.completions = rollout_for(before.world.leases.at(1), 0).completions;

    (*after).restore(record);

    CHECK(after.world.take_trace() == Lines{"refused 1 stale again"});
  }

  TEST_CASE("what the run waits for is said in words, with the slowest peer's name") {
    Bench bench(0, 2);
    bench.start();
    CHECK((*bench).waiting_for("tcp://h:1", 0) == "");
    (*bench).published(0);
    CHECK((*bench).waiting_for("tcp://h:1", 0) ==
          "no actor is connected: start one with `troupe actor CONFIG --hub tcp://h:1`");

    bench.actor("actor 0", 1);
    bench.now_ms = 5000;
    bench.schedule();
    bench.actor("actor 1", 1);
    bench.now_ms = 9000;
    bench.schedule();
    CHECK((*bench).waiting_for("tcp://h:1", 40000) ==
          "2 actors connected, 2 groups leased, none finished for 35 s: slowest actor 0 pid 1");

    bench.roll_out(0, 0);
    CHECK(
        (*bench).waiting_for("tcp://h:1", 40000) ==
        "no rewarder is connected: start one with `troupe rewarder CONFIG --hub tcp://h:1`; 1 groups wait for scores");
    bench.rewarder("r");
    bench.schedule();
    bench.roll_out(1, 0);
    CHECK((*bench).waiting_for("tcp://h:1", 49000) ==
          "1 rewarder connected, 2 groups wait for scores, none finished for 40 s: slowest r pid 1");
    bench.schedule();
    bench.score(0);
    bench.score(1);
    CHECK((*bench).waiting_for("tcp://h:1", 40000) == "");
  }
}

}  // namespace
}  // namespace troupe::test
