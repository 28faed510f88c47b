#include "learner/hub/hub.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "common/base/error.h"
#include "tests/learner/hub/hub_world.h"

namespace troupe::test {
namespace {

/// A hub with its thread, over the in-memory channel.
struct RunningHub {
  explicit RunningHub(PromptSource train = prompts_of("train")) : ledger(folder / "ledger.log") {
    ledger.append(RunStarted{print_config(hub_config()), "", "", "run-1"});
    auto owned = std::make_unique<InMemoryHubChannel>();
    channel = owned.get();
    HubOptions options;
    options.config = hub_config();
    options.run_dir = (folder / "").string();
    options.run_id = "run-1";
    hub.emplace(options, std::move(owned), ledger, std::move(train), prompts_of("held out"),
                Logger("hub", LogLevel::kError));
  }

  ScratchFolder folder;
  Ledger ledger;
  InMemoryHubChannel* channel = nullptr;
  std::optional<Hub> hub;
};

/// An honest actor and rewarder in a thread of their own, until they are told to leave.
class Staff {
 public:
  explicit Staff(InMemoryHubChannel& hub)
      : actor_(hub, "actor 0"), rewarder_(hub, "rewarder 0"), thread_([this] { run(); }) {}
  ~Staff() {
    stop_ = true;
    thread_.join();
  }
  bool dismissed() const { return dismissed_; }

 private:
  void run() {
    actor_.send(hello_of(Role::kActor, "actor 0"));
    actor_.send(Credit{8});
    rewarder_.send(hello_of(Role::kRewarder, "rewarder 0"));
    rewarder_.send(Credit{1});
    while (!stop_) {
      for (const Lease& lease : actor_.leases()) actor_.send(rollout_for(lease, lease.policy_version));
      for (const ScoreTask& task : rewarder_.tasks()) {
        rewarder_.send(scores_for(task, std::vector<double>(task.completions.size(), 1.0)));
      }
      if (!actor_.take<Shutdown>(MessageType::kShutdown).empty()) {
        actor_.send(Goodbye{kDismissed});
        rewarder_.send(Goodbye{kDismissed});
        dismissed_ = true;
      }
      std::this_thread::yield();
    }
  }

  FakePeer actor_, rewarder_;
  std::atomic<bool> stop_ = false, dismissed_ = false;
  std::thread thread_;
};

TEST_SUITE("hub/hub") {
  TEST_CASE("three steps and an evaluation run through the hub's thread, and the run ends") {
    RunningHub running;
    Hub& hub = *running.hub;
    Staff staff(*running.channel);

    hub.publish(weights_of(0));
    std::vector<std::uint64_t> trained;
    for (std::int64_t step = 1; step <= 3; ++step) {
      const auto batch = hub.next_batch(step, Deadline::after_ms(5000));
      REQUIRE(batch);
      for (const GroupRecord& record : *batch) {
        trained.push_back(record.group);
        CHECK(lowest_version(record) == static_cast<std::uint64_t>(step - 1));
      }
      hub.step_trained({step, "hash"});
      hub.publish(weights_of(static_cast<std::uint64_t>(step)));
    }
    const auto evaluated = hub.evaluate(3, 4, Deadline::after_ms(5000));
    REQUIRE(evaluated);
    CHECK(evaluated->size() == 4);
    hub.record(Evaluated{3, 1, 1, 4});
    hub.close(0, "finished", true);
    hub.close(0, "finished", true);
    running.ledger.append(RunFinished{3, "final", 0});

    CHECK(trained == std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5});
    for (const Deadline deadline = Deadline::after_ms(2000); !staff.dismissed() && !deadline.expired();)
      std::this_thread::yield();
    CHECK(staff.dismissed());
    CHECK(hub.status().actors == 1);
  }

  TEST_CASE("without peers the batch is not there by the deadline and the status says whom it waits for") {
    RunningHub running;
    running.hub->publish(weights_of(0));

    CHECK_FALSE(running.hub->next_batch(1, Deadline::after_ms(20)));

    CHECK(running.hub->status().waiting_for ==
          "no actor is connected: start one with `troupe actor CONFIG --hub memory`");
  }

  TEST_CASE("an error of the hub's thread is thrown from the next call") {
    PromptSource broken = prompts_of("train");
    broken.prompt_ids = [](const Row& row) -> std::vector<std::int32_t> {
      throw ConfigError(row.where + ": too long");
    };
    RunningHub running(broken);
    running.hub->publish(weights_of(0));
    FakePeer actor(*running.channel, "actor 0");
    actor.send(hello_of(Role::kActor, "actor 0"));
    actor.send(Credit{1});

    CHECK_THROWS_WITH_AS(running.hub->next_batch(1, Deadline::after_ms(5000)), "train:0: too long", ConfigError);
    CHECK_THROWS_AS(running.hub->publish(weights_of(1)), ConfigError);
    running.hub->close(1, "failed", false);
  }

  TEST_CASE("a shard reaches its learner rank, and is not sent where the rank is missing") {
    RunningHub running;
    const StepShard shard{4, "body"};
    CHECK_FALSE(running.hub->send_to_learner(1, shard, Deadline::after_ms(20)));
    FakePeer learner(*running.channel, "learner 1");
    Hello hello = hello_of(Role::kLearner, "learner 1");
    hello.rank = 1;
    learner.send(hello);

    CHECK(running.hub->send_to_learner(1, shard, Deadline::after_ms(5000)));

    CHECK(learner.take<StepShard>(MessageType::kStepShard) == std::vector<StepShard>{shard});
  }

  TEST_CASE("a batch out of turn is a bug that is named") {
    RunningHub running;
    CHECK_THROWS_WITH_AS(running.hub->next_batch(2, Deadline::after_ms(0)),
                         "internal error: the batch of step 2 was asked for, the next one is that of step 1",
                         InternalError);
  }
}

}  // namespace
}  // namespace troupe::test
