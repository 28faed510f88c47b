#include <doctest/doctest.h>

#include <fstream>

#include "tests/learner/hub/hub_world.h"

namespace troupe::test {
namespace {

TEST_SUITE("hub/hub_core: evaluation, restart, end") {
  TEST_CASE("an evaluation returns the held-out rows in order, each with one greedy completion") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    auto rewarder = world.join(Role::kRewarder, "rewarder 0");
    CHECK_FALSE(world.core->take_evaluation(0, 3));
    world.work(*actor, *rewarder);
    const auto records = world.core->take_evaluation(0, 3);
    CHECK(numbers_of(records) == std::vector<std::uint64_t>{0, 1, 2});
    CHECK(records->at(2).row == R"({"question":"held out 2"})");
    CHECK(records->at(2).completions.size() == 1);
    world.core->append(Evaluated{0, 1, 1, 3});
    CHECK(world.ledger->state().evaluating.empty());
    CHECK(numbers_of(world.core->take_batch(1)) == std::vector<std::uint64_t>{0, 1});
  }

  TEST_CASE("a restarted hub keeps what was scored, leases the rest again and chooses the same batch") {
    HubWorld straight;
    HubWorld broken;
    for (HubWorld* world : {&straight, &broken}) {
      world->core->publish(weights_of(0));
      auto actor = world->join(Role::kActor, "actor 0");
      auto rewarder = world->join(Role::kRewarder, "rewarder 0");
      if (world == &broken) {
        const auto leases = actor->leases();
        actor->send(rollout_for(leases[1], 0));
        world->pump();
        rewarder->send(scores_for(rewarder->tasks().at(0), {1, 1}));
        world->pump();
        world->start(hub_config());
        world->core->publish(weights_of(0));
        actor->send(Heartbeat{});
        world->pump();
        CHECK(actor->refusals().at(0).reason == "not registered with attempt 2 of the hub: say hello");
        actor = world->join(Role::kActor, "actor 0");
        rewarder = world->join(Role::kRewarder, "rewarder 0");
        CHECK(world->core->status(world->now_ms).leased == 1);
        CHECK(world->core->status(world->now_ms).scored == 1);
      }
      world->work(*actor, *rewarder);
    }

    const auto expected = straight.core->take_batch(1);
    const auto batch = broken.core->take_batch(1);

    CHECK(numbers_of(batch) == numbers_of(expected));
    CHECK(broken.ledger->state().batches.at(1).hashes == straight.ledger->state().batches.at(1).hashes);
  }

  TEST_CASE("a scored group whose rollout did not reach the disk is generated anew") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    auto rewarder = world.join(Role::kRewarder, "rewarder 0");
    world.work(*actor, *rewarder);
    world.core.reset();
    std::filesystem::resize_file(world.folder / "rollouts/000000.log", 0);

    world.start(hub_config());

    CHECK(world.ledger->state().refused_again.at("failed") == 2);
    world.core->publish(weights_of(0));
    actor = world.join(Role::kActor, "actor 0");
    rewarder = world.join(Role::kRewarder, "rewarder 0");
    world.work(*actor, *rewarder);
    CHECK(numbers_of(world.core->take_batch(1)) == std::vector<std::uint64_t>{0, 1});
  }

  TEST_CASE("a scored group whose rollout is not the one that the ledger names is generated anew") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    auto rewarder = world.join(Role::kRewarder, "rewarder 0");
    world.work(*actor, *rewarder);
    world.core.reset();
    const RolloutPlace place = world.ledger->state().groups.at(0).place;
    world.ledger->append(GroupRefused{0, "stale", true});
    world.ledger->append(GroupLeased{0, 99, 1, Purpose::kTrain, 0, "actor 0", 0});
    world.ledger->append(GroupRolledOut{0, Purpose::kTrain, 99, 0, 1});
    world.ledger->append(GroupScored{0, Purpose::kTrain, "the hash of other tokens", place, "rewarder 0", 0});

    world.start(hub_config());

    CHECK(world.ledger->state().refused_again.at("failed") == 1);
    CHECK(world.core->status(world.now_ms).scored == 1);
  }

  TEST_CASE("the hub's goodbye waits for the answer of each actor and rewarder that is there, to its deadline at most") {
    HubWorld world;
    auto actor = world.join(Role::kActor, "actor 0");
    auto rewarder = world.join(Role::kRewarder, "rewarder 0");
    const auto waits_ms = [&](std::int64_t deadline_ms) {
      const SteadyClock clock;
      const std::int64_t start_ms = clock.now_ms();
      world.core->say_goodbye(0, "the run is finished", Deadline::after_ms(deadline_ms));
      return clock.now_ms() - start_ms;
    };
    actor->send(Goodbye{kDismissed});
    CHECK(waits_ms(300) >= 300);
    actor->send(Goodbye{kDismissed});
    rewarder->send(Goodbye{kDismissed});
    CHECK(waits_ms(60'000) < 30'000);
  }

  TEST_CASE("at the end every peer is told, and open groups become unused") {
    Config config = hub_config();
    config.run.max_lag = 1;
    config.run.steps = 1;
    HubWorld world(config);
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    auto rewarder = world.join(Role::kRewarder, "rewarder 0");
    world.work(*actor, *rewarder);
    world.core->take_batch(1);
    world.core->append(StepTrained{1, "", 0});

    world.core->say_goodbye(0, "the run is finished", Deadline::after_ms(100));
    world.core->retire_open_groups();

    CHECK(actor->take<Shutdown>(MessageType::kShutdown) == std::vector<Shutdown>{{0, "the run is finished"}});
    CHECK(rewarder->take<Shutdown>(MessageType::kShutdown).size() == 1);
    CHECK(world.ledger->state().refused == std::map<std::string, std::int64_t>{{"unused", 1}});
    world.ledger->append(RunFinished{1, "hash", 0});
  }
}

}  // namespace
}  // namespace troupe::test
