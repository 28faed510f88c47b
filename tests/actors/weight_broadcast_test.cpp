#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "actors/weight_subscriber.h"
#include "common/base/error.h"
#include "common/messages/frame.h"
#include "common/transport/channel.h"
#include "tests/actors/fake_broadcast.h"
#include "tests/actors/weights_testing.h"
#include "tests/common/model/model_testing.h"

namespace troupe {
namespace {

using testing::FakeBroadcasts;
using testing::Published;

constexpr std::uint64_t kBucket = 50'000;

Parameters weights(std::uint64_t seed) { return testing::random_parameters(testing::small_architecture(), at::kBFloat16, seed); }
Published version(std::uint64_t number) { return testing::publish(weights(number), number, kBucket); }
std::string id_of(char c) { return std::string(128, c); }

SubscriberOptions options(FakeBroadcasts& broadcasts, WeightPath path, bool hub_on_this_host, const std::string& gpu) {
  SubscriberOptions result;
  result.architecture = testing::small_architecture();
  result.path = path;
  result.hub_on_this_host = hub_on_this_host;
  result.gpu = gpu;
  result.join = [&broadcasts](const BroadcastPlace& place) { return broadcasts.join(place); };
  return result;
}

/// A subscriber on a GPU of its own, and rank 0 of its groups.
struct Bench {
  explicit Bench(WeightPath path = WeightPath::kAuto, bool hub_on_this_host = true, const std::string& gpu = "GPU-1")
      : subscriber(options(broadcasts, path, hub_on_this_host, gpu), clock, Logger("test", LogLevel::kError)) {}

  /// The GPU that the hub is told of, if any.
  std::optional<std::string> offer() {
    const std::optional<std::string> frame = subscriber.due_frame();
    if (!frame || frame_type(bytes_of(*frame)) != MessageType::kWeightMember) return std::nullopt;
    return decode<WeightMember>(bytes_of(*frame)).gpu;
  }
  bool offers() { return offer() == "GPU-1"; }
  void make_group(std::uint64_t number, char id) {
    subscriber.join({number, id_of(id), 1, 2});
    root = broadcasts.join({id_of(id), 0, 2});
  }
  void announce(std::uint64_t group, const Published& published) {
    subscriber.expect({group, published.manifest.version});
    subscriber.offer(published.manifest);
  }
  /// The next version, or nothing where none comes soon.
  std::optional<ArrivedWeights> take(double seconds = 30) {
    const Deadline deadline = Deadline::after_s(seconds);
    while (!deadline.expired()) {
      if (std::optional<ArrivedWeights> weights = subscriber.take()) return weights;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return std::nullopt;
  }
  /// The next version, which must come by the stream.
  std::optional<ArrivedWeights> stream(const Published& published) {
    const Deadline deadline = Deadline::after_s(30);
    while (!deadline.expired()) {
      if (std::optional<ArrivedWeights> weights = subscriber.take()) return weights;
      const std::optional<std::string> frame = subscriber.due_frame();
      if (frame && frame_type(bytes_of(*frame)) == MessageType::kManifestRequest) subscriber.offer(published.manifest);
      if (!frame || frame_type(bytes_of(*frame)) != MessageType::kChunkRequest) continue;
      const std::uint64_t bucket = decode<ChunkRequest>(bytes_of(*frame)).bucket;
      subscriber.receive({published.manifest.version, bucket, false, published.bucket(bucket)});
    }
    return std::nullopt;
  }

  FakeBroadcasts broadcasts;
  ManualClock clock;
  WeightSubscriber subscriber;
  std::unique_ptr<BroadcastGroup> root;
};

TEST_SUITE("actors/weight_broadcast") {
  TEST_CASE("an actor on a GPU offers to take weights over NCCL, on the hub's host or where it was told to") {
    CHECK(Bench(WeightPath::kAuto, true).offers());
    CHECK_FALSE(Bench(WeightPath::kAuto, false).offers());
    CHECK(Bench(WeightPath::kNccl, false).offers());
    CHECK_FALSE(Bench(WeightPath::kStream, true).offers());
    CHECK_FALSE(Bench(WeightPath::kSharedMemory, true).offers());
    CHECK_FALSE(Bench(WeightPath::kAuto, true, "").offers());
    CHECK_THROWS_WITH_AS(Bench(WeightPath::kNccl, true, ""), doctest::Contains("actors.weights = nccl"), ConfigError);
  }

  TEST_CASE("announced versions come by broadcast, one after the other, checked") {
    Bench bench;
    CHECK(bench.offers());
    CHECK_FALSE(bench.offers());  // once
    bench.make_group(1, 'a');
    for (const std::uint64_t number : {4U, 5U, 7U}) {
      const Published published = version(number);
      bench.announce(1, published);
      CHECK_FALSE(bench.subscriber.take());
      bench.root->broadcast(weights(number).flat());

      const std::optional<ArrivedWeights> arrived = bench.take();

      REQUIRE(arrived);
      CHECK(arrived->version == number);
      CHECK(std::string(arrived->path) == "nccl");
      CHECK(at::equal(arrived->parameters.flat(), weights(number).flat()));
      CHECK(bench.subscriber.held() == number);
      bench.subscriber.offer(published.manifest);
      CHECK_FALSE(bench.take(0.02));  // not twice
    }
  }

  TEST_CASE("of versions that were not looked at in time the newest counts") {
    Bench bench;
    bench.make_group(1, 'a');
    for (const std::uint64_t number : {4U, 5U}) {
      bench.announce(1, version(number));
      bench.root->broadcast(weights(number).flat());
    }

    const std::optional<ArrivedWeights> arrived = bench.take();

    REQUIRE(arrived);
    CHECK(arrived->version == 5);
    CHECK(at::equal(arrived->parameters.flat(), weights(5).flat()));
    CHECK_FALSE(bench.take(0.02));
  }

  TEST_CASE("what was corrupted on the way is not taken: the version comes by the stream, and a group is asked for again") {
    Bench bench(WeightPath::kNccl, false);
    CHECK(bench.offers());
    bench.make_group(1, 'a');
    bench.broadcasts.corrupt = true;
    const Published published = version(4);
    bench.announce(1, published);
    bench.root->broadcast(weights(4).flat());
    CHECK_FALSE(bench.take(0.5));
    CHECK(bench.subscriber.refused() == 1);
    CHECK(bench.offers());

    const std::optional<ArrivedWeights> arrived = bench.stream(published);

    REQUIRE(arrived);
    CHECK(std::string(arrived->path) == "stream");
    CHECK(at::equal(arrived->parameters.flat(), weights(4).flat()));
  }

  TEST_CASE("a broadcast that a dead member spoils costs its deadline: the version comes by the stream, the next by a new group") {
    Bench bench(WeightPath::kNccl, false);
    CHECK(bench.offers());
    bench.make_group(1, 'a');
    bench.broadcasts.dead_member = true;
    const Published published = version(4);
    bench.announce(1, published);
    CHECK_FALSE(bench.take(0.5));
    CHECK(bench.offers());
    CHECK(bench.stream(published)->version == 4);

    bench.broadcasts.dead_member = false;
    bench.make_group(2, 'b');
    bench.announce(2, version(5));
    bench.root->broadcast(weights(5).flat());

    CHECK(std::string(bench.take()->path) == "nccl");
  }

  TEST_CASE("a group that cannot be made three times in a row is not asked for any more") {
    Bench bench(WeightPath::kNccl, false);
    bench.broadcasts.refuse_joins = true;
    for (int i = 0; i < 3; ++i) {
      CHECK(bench.offers());
      bench.subscriber.join({1, id_of('a'), 1, 2});
      CHECK_FALSE(bench.take(0.2));
    }
    CHECK(bench.offer() == "");
    const Published published = version(4);
    bench.subscriber.offer(published.manifest);
    CHECK(bench.stream(published)->version == 4);
  }

  TEST_CASE("a broadcast in a group that the actor is not in is no reason to wait") {
    Bench bench(WeightPath::kNccl, false);
    const Published published = version(4);
    bench.announce(3, published);

    CHECK(bench.stream(published)->version == 4);
  }

  TEST_CASE("another hub's broadcast is void") {
    Bench bench;
    bench.make_group(1, 'a');
    bench.announce(1, version(9));
    bench.subscriber.restart(true);
    CHECK(bench.offers());
    bench.root->broadcast(weights(9).flat());
    CHECK_FALSE(bench.take(0.1));
    CHECK_FALSE(bench.subscriber.held());
  }
}

}  // namespace
}  // namespace troupe
