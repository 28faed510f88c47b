#include "learner/hub/hub_core.h"

#include <doctest/doctest.h>

#include <fstream>

#include "common/base/error.h"
#include "common/collective/thread_communicator.h"
#include "tests/learner/hub/hub_world.h"

namespace troupe::test {
namespace {

TEST_SUITE("hub/hub_core") {
  TEST_CASE("a group goes from lease to batch; the batch is on disk, with its rollouts, when it is handed out") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    auto rewarder = world.join(Role::kRewarder, "rewarder 0");
    CHECK_FALSE(world.core->take_batch(1));

    world.work(*actor, *rewarder);

    const auto batch = world.core->take_batch(1);
    CHECK(numbers_of(batch) == std::vector<std::uint64_t>{0, 1});
    CHECK(batch->at(1).actor == "actor 0");
    CHECK(batch->at(1).rewarder == "rewarder 0");
    CHECK(batch->at(1).row == R"({ "question": "train 1" })");
    CHECK(actor->accepted().size() == 2);
    CHECK(rewarder->accepted().size() == 2);
    const LedgerState on_disk = read_ledger(world.folder / "ledger.log");
    CHECK(on_disk.last_chosen_step == 1);
    CHECK(on_disk.batches.at(1).world_size == 2);
    RolloutLogReader reader(world.folder / "rollouts");
    CHECK(read_batch(on_disk, 1, reader) == *batch);
  }

  TEST_CASE("a peer is welcomed with the run's configuration, and an actor with the newest weights") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    auto rewarder = world.join(Role::kRewarder, "rewarder 0");

    const auto welcomes = actor->take<Welcome>(MessageType::kWelcome);
    REQUIRE(welcomes.size() == 1);
    CHECK(welcomes[0].incarnation == 1);
    CHECK(welcomes[0].run_id == "run-1");
    CHECK(parse_config(welcomes[0].config, "welcome", {}) == hub_config());
    CHECK(actor->take<WeightManifest>(MessageType::kWeightManifest).at(0).version == 0);
    CHECK(rewarder->take<WeightManifest>(MessageType::kWeightManifest).empty());
  }

  TEST_CASE("who may not join is told why and sent away") {
    HubWorld world;
    world.start(hub_config(), "secret");
    struct Case {
      Role role;
      std::uint32_t rank;
      const char* token;
      const char* reason;
    };
    for (const Case& c :
         {Case{Role::kActor, 0, "wrong",
               "the token of x is not that of the run: give it the file hub.token of the run directory"},
          Case{Role::kLearner, 2, "secret", "learner rank: expected 1 to 1, found 2"},
          Case{Role::kLearner, 0, "secret", "learner rank: expected 1 to 1, found 0"}}) {
      FakePeer peer(world.channel, "x");
      Hello hello = hello_of(c.role, "x");
      hello.rank = c.rank;
      hello.token = c.token;
      peer.send(hello);
      world.pump();
      const auto refusals = peer.refusals();
      REQUIRE(refusals.size() == 1);
      CHECK(refusals[0].reason == c.reason);
      CHECK_FALSE(refusals[0].register_again);
      CHECK(peer.take<Welcome>(MessageType::kWelcome).empty());
    }
  }

  TEST_CASE("a stranger that says anything but hello is asked to register") {
    HubWorld world;
    FakePeer peer(world.channel, "x");
    peer.send(Heartbeat{});
    world.pump();
    const auto refusals = peer.refusals();
    REQUIRE(refusals.size() == 1);
    CHECK(refusals[0].register_again);
    CHECK(refusals[0].reason == "not registered with attempt 1 of the hub: say hello");
  }

  TEST_CASE("garbage and another protocol's frames are counted and answered, and honest peers go on") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    auto rewarder = world.join(Role::kRewarder, "rewarder 0");
    FakePeer stranger(world.channel, "\x01stranger");
    std::string newer = encode(hello_of(Role::kActor, "x"));
    newer[4] = static_cast<char>(kProtocolVersion + 1);
    std::string torn = encode(hello_of(Role::kActor, "x"));
    torn.pop_back();
    std::string flipped = encode(hello_of(Role::kActor, "x"));
    flipped.back() = static_cast<char>(flipped.back() ^ 1);
    const std::vector<std::string> frames = {"",      "GET / HTTP/1.1\r\n\r\n", std::string(1000, '\xff'), newer, torn,
                                             flipped, encode(Heartbeat{})};
    for (const std::string& frame : frames) stranger.send_frame(frame);

    world.work(*actor, *rewarder);

    const auto refusals = stranger.refusals();
    REQUIRE(refusals.size() == frames.size());
    CHECK(refusals[3].reason == "frame: protocol version " + std::to_string(kProtocolVersion + 1) +
                                    ", but this program speaks version " + std::to_string(kProtocolVersion) +
                                    ": run the same Troupe on both sides");
    CHECK_FALSE(refusals[3].register_again);
    CHECK(world.core->status(world.now_ms).refused_frames == static_cast<std::int64_t>(frames.size()));
    CHECK(numbers_of(world.core->take_batch(1)) == std::vector<std::uint64_t>{0, 1});
  }

  TEST_CASE("a registered peer that sends a bad frame starts over, and its groups go to others") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto bad = world.join(Role::kActor, "actor 0");
    CHECK(bad->leases().size() == 2);
    auto good = world.join(Role::kActor, "actor 1");

    bad->send_frame("rubbish");
    bad->send_frame("and more, sent before it could hear of that");
    world.pump();

    for (const Refusal& refusal : bad->refusals()) CHECK(refusal.register_again);
    CHECK(good->leases().size() == 2);
    CHECK(world.core->status(world.now_ms).actors == 1);
  }

  TEST_CASE("a dead actor's groups are given to another; what it sends later is refused and counted") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto dead = world.join(Role::kActor, "actor 0");
    const auto lost = dead->leases();
    CHECK(lost.size() == 2);
    world.now_ms += 390;
    auto other = world.join(Role::kActor, "actor 1");
    CHECK(other->leases().empty());

    world.now_ms += 10;  // deadline.heartbeat_s since the dead one's last word
    world.pump();

    CHECK(other->leases().size() == 2);
    dead->send(rollout_for(lost[0], 0));
    world.pump();
    CHECK(dead->refusals().at(0).register_again);
    CHECK(dead->accepted().empty());
    dead->send(hello_of(Role::kActor, "actor 0"));
    dead->send(rollout_for(lost[0], 0));
    world.pump();
    CHECK(dead->revokes().at(0).lease_ids == std::vector<std::uint64_t>{lost[0].lease_id});
    CHECK(world.core->status(world.now_ms).late_results == 1);
  }

  TEST_CASE("an actor whose connection closes loses its leases as soon as the hub speaks to it") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    CHECK(actor->leases().size() == 2);
    actor.reset();
    world.core->publish(weights_of(1));
    world.pump();
    CHECK(world.core->status(world.now_ms).actors == 0);
    CHECK(world.core->status(world.now_ms).leased == 0);
  }

  TEST_CASE("a peer that does not read is given up before its frames fill the memory") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    for (int i = 0; i < 4096 + 300 && world.core->status(world.now_ms).actors == 1; ++i) {
      actor->send(Heartbeat{});
      world.pump();
    }
    CHECK(world.core->status(world.now_ms).actors == 0);
  }

  TEST_CASE("a lease that stalls is taken back although its actor's heart beats") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    const auto leases = actor->leases();
    for (int i = 0; i < 10; ++i) {
      world.now_ms += 100;
      actor->send(Heartbeat{0, 10.0, {{leases[0].lease_id, static_cast<std::uint64_t>(i + 1)}}});
      world.pump();
    }
    CHECK(actor->revokes().at(0).lease_ids == std::vector<std::uint64_t>{leases[1].lease_id});
    CHECK(world.core->status(world.now_ms).expired_leases == 1);
    CHECK(world.core->status(world.now_ms).actor_tokens_per_s == 10.0);
    CHECK(actor->take<Heartbeat>(MessageType::kHeartbeat).size() == 10);
  }

  TEST_CASE("a result that breaks its lease is counted, revoked and its sender named in the ledger") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    const auto leases = actor->leases();
    actor->send(rollout_for(leases[0], 0, 5));
    world.pump();

    CHECK(actor->revokes().size() == 1);
    CHECK(world.core->status(world.now_ms).refused_frames == 1);
    bool named = false;
    for (const LedgerRecord& record : read_ledger_records(world.folder / "ledger.log")) {
      const auto* lost = std::get_if<LeaseLost>(&record);
      named |= lost != nullptr && lost->reason ==
                                      "actor 0: refused, RolloutGroup of group 0: completions[0].token_ids: "
                                      "expected at most 4 tokens, found 5";
    }
    CHECK(named);
  }

  TEST_CASE("an actor that declines a lease by Refusal rests, and another gets the group") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    const auto leases = actor->leases();
    auto other = world.join(Role::kActor, "actor 1");

    actor->send(Refusal{"the prompt is too long", false, leases[1].lease_id});
    world.pump();

    const auto given = other->leases();
    REQUIRE(given.size() == 1);
    CHECK(given[0].group == 1);
    CHECK(world.core->status(world.now_ms).leased == 2);
  }

  TEST_CASE("a result under an older attempt's lease is refused by name and its sender registers again") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    RolloutGroup old = rollout_for(actor->leases().at(0), 0);
    old.incarnation = 7;
    actor->send(old);
    world.pump();
    const auto refusals = actor->refusals();
    REQUIRE(refusals.size() == 1);
    CHECK(refusals[0].register_again);
    CHECK(refusals[0].reason == "a result of group 0 under a lease of attempt 7; this is attempt 1");
  }

  TEST_CASE("actors are told of new weights and fetch them bucket by bucket; the newest two are kept") {
    HubWorld world;
    auto actor = world.join(Role::kActor, "actor 0");
    const auto manifest = [&](const ManifestRequest& request) {
      actor->send(request);
      world.pump();
      return actor->take<WeightManifest>(MessageType::kWeightManifest);
    };
    const auto chunk = [&](std::uint64_t version, std::uint64_t bucket) {
      actor->send(ChunkRequest{version, bucket});
      world.pump();
      return actor->take<WeightChunk>(MessageType::kWeightChunk);
    };
    CHECK(manifest({0, true}).empty());
    for (const std::uint64_t version : {0U, 1U, 2U}) {
      world.core->publish(weights_of(version, std::to_string(version) + "123456789ab"));
      world.pump();
      CHECK(actor->take<WeightManifest>(MessageType::kWeightManifest).at(0).version == version);
    }

    CHECK(manifest({0, true}).at(0).version == 2);
    CHECK(manifest({1, false}).at(0).version == 1);
    CHECK(manifest({0, false}).at(0).version == 2);  // gone: the newest instead
    CHECK(chunk(2, 0).at(0).bytes == "21234567");
    CHECK(chunk(1, 0).at(0).bytes == "11234567");
    CHECK(chunk(2, 1).at(0).bytes == "89ab");
    CHECK(chunk(0, 0).at(0).gone);
    CHECK(chunk(2, 2).empty());
    CHECK(actor->refusals().at(0).reason == "ChunkRequest.bucket: expected a number below 2, found 2");
  }

  TEST_CASE("with a slow rewarder the groups in the hub stay within the admission, however fast the actors are") {
    Config config = hub_config();
    config.run.max_lag = 1;
    HubWorld world(config);
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0", 1000);
    auto rewarder = world.join(Role::kRewarder, "rewarder 0", 1);
    for (int i = 0; i < 50; ++i) {
      world.now_ms += 10;
      for (const Lease& lease : actor->leases()) actor->send(rollout_for(lease, lease.policy_version));
      world.pump();
      const HubStatus status = world.core->status(world.now_ms);
      CHECK(status.leased + status.scoring + status.scored <= 5);  // 2 x 2 x 1.25
    }
    CHECK(rewarder->tasks().size() == 1);
  }

  TEST_CASE("a learner rank's beat goes to the board, and is answered with those of the other ranks") {
    const ThreadWorld ranks(3);
    const auto communicator = ranks.communicator(0);
    ManualClock clock;
    RankBoard board(0, hub_config().deadline, *communicator, clock);
    board.set(7, "optimizer");
    HubWorld world;
    world.start(hub_config(), "", &board);
    FakePeer peer(world.channel, "learner 1");
    Hello hello = hello_of(Role::kLearner, "learner 1");
    hello.rank = 1;
    peer.send(hello);
    const LearnerBeat beat{.rank = 1, .pid = 43, .step = 6, .phase = "reference", .sequence = 2};
    peer.send(beat);
    world.pump();

    CHECK(board.beats_for(2).at(1) == beat);
    CHECK(peer.take<LearnerBeat>(MessageType::kLearnerBeat) == std::vector<LearnerBeat>{board.own()});
    CHECK(world.core->learner(1) == "learner 1");
    CHECK_FALSE(world.core->learner(2));
    peer.send(LearnerBeat{.rank = 0, .pid = 43, .step = 6, .phase = "reference", .sequence = 2});
    world.pump();
    CHECK(peer.refusals().size() == 1);
  }

  TEST_CASE("a peer that says goodbye gives its leases back") {
    HubWorld world;
    world.core->publish(weights_of(0));
    auto actor = world.join(Role::kActor, "actor 0");
    actor->send(Goodbye{"preempted"});
    world.pump();
    CHECK(world.core->status(world.now_ms).leased == 0);
    CHECK(world.core->status(world.now_ms).actors == 0);
  }
}

}  // namespace
}  // namespace troupe::test
