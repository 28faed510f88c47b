#include "actors/actor_loop.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "actors/engine.h"
#include "common/base/shared_memory.h"
#include "tests/actors/fake_hub.h"

namespace troupe {
namespace {

using testing::FakeHub;
using testing::Published;
using testing::RunningActor;

constexpr std::uint64_t kBucket = 50'000;

Architecture architecture() {
  Architecture a = testing::small_architecture();
  a.vocabulary = Tokenizer::from_json(character_tokenizer_json(), "characters").vocabulary_size();
  a.max_positions = 2048;
  return a;
}

Parameters weights(std::uint64_t seed) { return testing::random_parameters(architecture(), at::kFloat, seed); }
Published version(std::uint64_t number) { return testing::publish(weights(number), number, kBucket); }

/// The run's configuration.
Config config(std::int64_t max_lag = 4) {
  Config result;
  result.model.path = "model";
  result.data.train = "task:addition/train";
  result.run.max_lag = max_lag;
  result.run.exact = max_lag == 0;
  result.group.size = 2;
  result.sampling.max_tokens = 1500;
  return result;
}

ActorOptions options(FakeHub& hub) {
  ActorOptions result;
  result.connect = [&hub] { return hub.connect(); };
  result.hello.role = Role::kActor;
  result.hello.name = "actor 0";
  result.hello.host = "here";
  result.local.actors.slots = 4;
  result.local.actors.weights = "stream";
  result.local.deadline.heartbeat_s = 6;
  result.load_model = [](const Welcome&) {
    return ActorModel{architecture(), Tokenizer::from_json(character_tokenizer_json(), "characters")};
  };
  return result;
}

Lease lease(std::uint64_t id, std::uint64_t policy_version, std::int32_t max_tokens) {
  Lease result;
  result.lease_id = (std::uint64_t{1} << 48) + id;
  result.incarnation = 1;
  result.group = 100 + id;
  result.seed = 9;
  result.policy_version = policy_version;
  result.samples = 2;
  result.prompt_ids = {1, 2, 3, 4};
  result.sampling.max_tokens = max_tokens;
  return result;
}

/// What the engine alone makes of a lease.
std::vector<Completion> alone(const Lease& lease, const Parameters& parameters, std::uint64_t number) {
  Engine engine(parameters, number, {});
  engine.submit({lease.lease_id, lease.prompt_ids, lease.samples, lease.sampling, lease.seed, lease.group});
  while (true) {
    for (FinishedRequest& finished : engine.step()) return std::move(finished.completions);
  }
}

bool same_tokens(const std::vector<Completion>& a, const std::vector<Completion>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].token_ids != b[i].token_ids || a[i].logprobs != b[i].logprobs || a[i].versions != b[i].versions)
      return false;
  }
  return true;
}

/// A hub and an actor that has fetched version 1 and asked for work.
struct Bench {
  explicit Bench(Config run = config()) : hub(std::move(run)) {
    hub.versions[1] = version(1);
    actor.emplace(options(hub));
    credit = hub.next<Credit>(MessageType::kCredit)->groups;
    const auto buckets = static_cast<int>(hub.versions[1].manifest.bucket_checksums.size());
    while (hub.counts[MessageType::kChunkRequest] < buckets)
      REQUIRE(hub.next<ChunkRequest>(MessageType::kChunkRequest));
  }
  ~Bench() {
    if (!done) end(0);
  }
  int end(int code) {
    done = true;
    hub.tell(Shutdown{code, "test over"});
    return actor->exit_code();
  }

  FakeHub hub;
  std::optional<RunningActor> actor;
  std::uint32_t credit = 0;
  bool done = false;
};

TEST_SUITE("actors/actor_loop") {
  TEST_CASE(
      "a lease becomes the group that the engine generates, with its text, and Shutdown's code is the exit code") {
    Bench bench;
    CHECK(bench.credit == 3);  // four slots in groups of two, and one in reserve
    Lease work = lease(1, 1, 20);
    work.sampling.stop_ids = {7, 8, 9};
    bench.hub.tell(work);

    const RolloutGroup group = bench.hub.result();

    CHECK(group.lease_id == work.lease_id);
    CHECK(group.incarnation == 1);
    CHECK(group.group == 101);
    CHECK(same_tokens(group.completions, alone(work, weights(1), 1)));
    const Tokenizer tokenizer = Tokenizer::from_json(character_tokenizer_json(), "characters");
    for (const Completion& completion : group.completions) {
      std::vector<std::int32_t> ids = completion.token_ids;
      if (completion.finish_reason == FinishReason::kStop) ids.pop_back();
      CHECK(completion.text == tokenizer.decode(ids, true));
    }
    bench.hub.tell(Accepted{work.lease_id});
    CHECK(bench.end(3) == 3);
  }

  TEST_CASE("on the hub's host weights come through shared memory") {
    FakeHub hub(config());
    Published first = version(1);
    first.manifest.shared_memory = "/troupe-actor-test-" + std::to_string(::getpid()) + "-v1";
    SharedMemory memory = SharedMemory::create(first.manifest.shared_memory, first.bytes.size());
    std::memcpy(memory.writable_bytes().data(), first.bytes.data(), first.bytes.size());
    hub.versions[1] = first;
    ActorOptions actor_options = options(hub);
    actor_options.local.actors.weights = "auto";
    RunningActor actor(std::move(actor_options));
    REQUIRE(hub.next<Credit>(MessageType::kCredit));
    const Lease work = lease(1, 1, 8);
    hub.tell(work);

    const RolloutGroup group = hub.result();

    CHECK(same_tokens(group.completions, alone(work, weights(1), 1)));
    CHECK(hub.counts[MessageType::kChunkRequest] == 0);
    hub.tell(Shutdown{0, "test over"});
    CHECK(actor.exit_code() == 0);
  }

  TEST_CASE("a corrupted bucket is fetched again; nothing is generated with it") {
    FakeHub hub(config());
    hub.versions[1] = version(1);
    hub.corrupt_chunks = 2;
    RunningActor actor(options(hub));
    REQUIRE(hub.next<Credit>(MessageType::kCredit));
    const Lease work = lease(1, 1, 8);
    hub.tell(work);

    CHECK(same_tokens(hub.result().completions, alone(work, weights(1), 1)));

    hub.tell(Shutdown{0, "test over"});
    CHECK(actor.exit_code() == 0);
  }

  TEST_CASE("weights that stay corrupted end the actor, and the hub is told") {
    FakeHub hub(config());
    hub.versions[1] = version(1);
    hub.corrupt_chunks = 1000;
    RunningActor actor(options(hub));

    const std::optional<Goodbye> goodbye = hub.next<Goodbye>(MessageType::kGoodbye);

    REQUIRE(goodbye);
    CHECK(goodbye->reason.find("bucket 0 of") != std::string::npos);
    CHECK_THROWS_AS(actor.exit_code(), TransportError);
  }

  TEST_CASE("new weights are used between two tokens of a running generation") {
    Bench bench;
    const Lease work = lease(1, 1, 1500);
    bench.hub.tell(work);
    bench.hub.publish_and_wait(version(2));

    const RolloutGroup group = bench.hub.result();

    for (const Completion& completion : group.completions) {
      CHECK(completion.versions.front() == 1);
      CHECK(completion.versions.back() == 2);
      CHECK(std::is_sorted(completion.versions.begin(), completion.versions.end()));
    }
  }

  TEST_CASE("a lease that asks for newer weights waits for them") {
    Bench bench;
    const Lease newer = lease(1, 2, 8);
    const Lease now = lease(2, 1, 8);
    bench.hub.tell(newer);
    bench.hub.tell(now);
    CHECK(bench.hub.result().lease_id == now.lease_id);
    bench.hub.publish(version(2));

    const RolloutGroup group = bench.hub.result();

    CHECK(group.lease_id == newer.lease_id);
    CHECK(same_tokens(group.completions, alone(newer, weights(2), 2)));
  }

  TEST_CASE("a revoked lease is given up and the next one takes its slots") {
    Bench bench;
    const Lease revoked = lease(1, 1, 1500);
    const Lease next = lease(2, 1, 8);
    bench.hub.tell(revoked);
    bench.hub.publish_and_wait(version(2));
    bench.hub.tell(Revoke{{revoked.lease_id, 12345}});
    bench.hub.tell(next);

    CHECK(bench.hub.result().lease_id == next.lease_id);
    const std::optional<Heartbeat> beat = bench.hub.next<Heartbeat>(MessageType::kHeartbeat);
    REQUIRE(beat);
    for (const LeaseProgress& progress : beat->leases) CHECK(progress.lease_id != revoked.lease_id);
    CHECK(bench.end(0) == 0);
    CHECK(bench.hub.counts[MessageType::kRolloutGroup] == 1);
  }

  TEST_CASE("a lease that cannot be carried out is declined by the name of its field") {
    Bench bench(config(0));
    Lease absurd = lease(1, 1, 8);
    absurd.prompt_ids[1] = 100'000;
    bench.hub.tell(absurd);
    std::optional<Refusal> refusal = bench.hub.next<Refusal>(MessageType::kRefusal);
    REQUIRE(refusal);
    CHECK(refusal->lease_id == absurd.lease_id);
    CHECK(refusal->reason.find("prompt_ids[1] = 100000") != std::string::npos);

    bench.hub.tell(lease(2, 0, 8));  // at max_lag 0 an older version than the actor's cannot be had
    refusal = bench.hub.next<Refusal>(MessageType::kRefusal);
    REQUIRE(refusal);
    CHECK(refusal->reason.find("policy_version = 0") != std::string::npos);

    bench.hub.tell(lease(3, 1, 8));
    CHECK(bench.hub.result().group == 103);
  }

  TEST_CASE("a result that was not accepted is sent again after a new registration with the same hub") {
    Bench bench;
    const Lease work = lease(1, 1, 8);
    bench.hub.tell(work);
    const RolloutGroup first = bench.hub.result();
    bench.hub.tell(Refusal{"who are you", true});

    const RolloutGroup again = bench.hub.result();

    CHECK(again.lease_id == work.lease_id);
    CHECK(same_tokens(again.completions, first.completions));
    CHECK(bench.hub.counts[MessageType::kHello] == 2);
    CHECK(bench.hub.counts[MessageType::kCredit] == 2);
  }

  TEST_CASE("a hub that comes back as another incarnation gets no old results, and its weights are fetched again") {
    Bench bench;
    bench.hub.tell(lease(1, 1, 8));
    (void)bench.hub.result();
    const Lease running = lease(2, 1, 1500);
    bench.hub.tell(running);
    bench.hub.publish_and_wait(version(2));

    bench.hub.welcome.incarnation = 2;
    bench.hub.tell(Refusal{"another incarnation", true});
    REQUIRE(bench.hub.next<Credit>(MessageType::kCredit));
    bench.hub.versions.clear();
    bench.hub.publish(
        testing::publish(weights(5), 0, kBucket));  // an older number: the run was resumed from a checkpoint
    Lease work = lease(3, 0, 8);
    work.lease_id = (std::uint64_t{2} << 48) + 1;
    work.incarnation = 2;
    bench.hub.tell(work);
    Lease stale = lease(4, 0, 8);
    bench.hub.tell(stale);

    const RolloutGroup group = bench.hub.result();

    CHECK(group.lease_id == work.lease_id);
    CHECK(same_tokens(group.completions, alone(work, weights(5), 0)));
    CHECK(bench.end(0) == 0);
    CHECK(bench.hub.counts[MessageType::kRolloutGroup] == 2);
  }

  TEST_CASE("an actor that hears nothing of the hub leaves with 75") {
    FakeHub hub(config());
    ActorOptions actor_options = options(hub);
    actor_options.local.deadline.heartbeat_s = 0.2;
    actor_options.local.deadline.reconnect_s = 0.5;

    RunningActor actor(std::move(actor_options));

    CHECK(actor.exit_code() == 75);
  }

  TEST_CASE("an actor that is told to stop says goodbye and leaves with 75") {
    FakeHub hub(config());
    hub.versions[1] = version(1);
    std::atomic<bool> stop = false;
    ActorOptions actor_options = options(hub);
    actor_options.stop = [&stop] { return stop.load(); };
    RunningActor actor(std::move(actor_options));
    REQUIRE(hub.next<Credit>(MessageType::kCredit));
    stop = true;

    CHECK(hub.next<Goodbye>(MessageType::kGoodbye));
    CHECK(actor.exit_code() == 75);
  }

  TEST_CASE("an actor with another model than the run's says which tensor differs and leaves") {
    FakeHub hub(config());
    hub.versions[1] = version(1);
    ActorOptions actor_options = options(hub);
    actor_options.load_model = [](const Welcome&) {
      Architecture other = architecture();
      other.hidden = 32;
      return ActorModel{other, Tokenizer::from_json(character_tokenizer_json(), "characters")};
    };
    RunningActor actor(std::move(actor_options));

    CHECK(hub.next<Goodbye>(MessageType::kGoodbye));
    CHECK_THROWS_WITH_AS(actor.exit_code(), doctest::Contains("embed_tokens"), ConfigError);
  }
}

}  // namespace
}  // namespace troupe
