#include "learner/hub/group_scheduler.h"

#include <doctest/doctest.h>

#include "tests/learner/hub/scheduler_bench.h"

namespace troupe::test {
namespace {

TEST_SUITE("hub/group_scheduler") {
  TEST_CASE("groups are leased in prompt order to the peer with the fewest leases, never beyond its credit") {
    SchedulerBench bench(0, 5);
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
    SchedulerBench bench;
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
      SchedulerBench bench(c.max_lag, c.prompts);
      bench.options.dynamic_sampling = c.dynamic;
      bench.options.steps = c.steps;
      bench.start().published(0);
      bench.actor("a");
      bench.schedule();
      CHECK((*bench).leased() == c.leased);
    }
  }

  TEST_CASE("at lag 0 the batch is the first groups by number, whatever order they arrive in") {
    SchedulerBench bench(0, 3);
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
    SchedulerBench bench(0, 1);
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
    SchedulerBench bench(0, 4);
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
    SchedulerBench bench(0, 1);
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
    SchedulerBench bench(0, 2);
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
    SchedulerBench bench(0, 1);
    bench.start().published(0);
    bench.actor("a");
    bench.rewarder("r");
    bench.schedule();
    bench.finish(0, 0, {1, 1});
    CHECK(bench.take_batch() == std::vector<std::uint64_t>{0});
  }

  TEST_CASE("at lag 1 the batch is in arrival order and a group may lag by one version, not by two") {
    SchedulerBench bench(1, 2);
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
    SchedulerBench bench(1, 1);
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
    SchedulerBench bench(1, 1);
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
}

}  // namespace
}  // namespace troupe::test
