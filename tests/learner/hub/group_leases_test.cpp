#include "learner/hub/group_scheduler.h"

#include <doctest/doctest.h>

#include "tests/learner/hub/scheduler_bench.h"

namespace troupe::test {
namespace {

TEST_SUITE("hub/group_scheduler: leases") {
  TEST_CASE("a silent peer is dead after the heartbeat's time and its leases are given to others") {
    SchedulerBench bench(0, 2);
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
    SchedulerBench bench(0, 1);
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
    SchedulerBench bench(0, 4);
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
    SchedulerBench bench(0, 3);
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
      SchedulerBench bench(0, 1);
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
    SchedulerBench bench(0, 1);
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
      SchedulerBench bench(max_lag, 1);
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
    SchedulerBench bench(0, 2);
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
    SchedulerBench bench(1, 1);
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
      SchedulerBench bench(0, 1);
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
      SchedulerBench before(max_lag, 3);
      before.start().published(0);
      before.actor("a");
      before.rewarder("r");
      before.schedule();
      before.finish(1, 0);
      before.roll_out(2, 0);

      SchedulerBench after(max_lag, 3);
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

  TEST_CASE("restored groups are generated anew under their numbers where the weights have become others") {
    for (const std::uint64_t max_lag : {0, 1}) {
      SchedulerBench before(max_lag, 2);
      before.start().published(0);
      before.actor("a");
      before.rewarder("r");
      before.schedule();
      before.finish(0, 0);
      SchedulerBench after(max_lag, 2);
      after.world.ledger = before.world.ledger;
      after.start();
      GroupRecord record;
      record.group = 0;
      record.completions = rollout_for(before.world.leases.at(0), 0).completions;
      (*after).restore(record);
      after.world.take_trace();

      (*after).forget_restored();

      CHECK(after.world.take_trace() == Lines{"refused 0 stale again"});
      (*after).published(0);
      after.actor("a");
      after.schedule();
      CHECK(after.world.leases.contains(0));
    }
  }

  TEST_CASE("a restored group of another version is generated anew at lag 0") {
    SchedulerBench before(0, 1);
    before.options.dynamic_sampling = true;
    before.start().published(0);
    before.actor("a");
    before.rewarder("r");
    before.schedule();
    before.finish(1, 0);
    LedgerState ledger = before.world.ledger;
    ledger.last_chosen_step = 1;  // as if step 1 had been chosen of other groups
    SchedulerBench after(0, 1);
    after.world.ledger = ledger;
    after.start();
    GroupRecord record;
    record.group = 1;
    record.completions = rollout_for(before.world.leases.at(1), 0).completions;

    (*after).restore(record);

    CHECK(after.world.take_trace() == Lines{"refused 1 stale again"});
  }

  TEST_CASE("what the run waits for is said in words, with the slowest peer's name") {
    SchedulerBench bench(0, 2);
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
