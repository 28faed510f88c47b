#include "actors/weight_subscriber.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/base/shared_memory.h"
#include "common/messages/frame.h"
#include "common/transport/channel.h"
#include "tests/actors/weights_testing.h"
#include "tests/common/model/model_testing.h"

namespace troupe {
namespace {

using testing::Published;

constexpr std::uint64_t kBucket = 50'000;

Parameters weights(std::uint64_t seed, at::ScalarType dtype = at::kFloat) {
  return testing::random_parameters(testing::small_architecture(), dtype, seed);
}

bool equal(const Parameters& a, const Parameters& b) { return at::equal(a.flat(), b.flat()); }

/// A subscriber and what it says is to be sent.
struct Bench {
  explicit Bench(WeightPath path = WeightPath::kStream, bool same_host = false)
      : subscriber({testing::small_architecture(), path, same_host, 10}, clock, Logger("test", LogLevel::kError)) {}

  /// What is there once nothing is being copied any more.
  std::optional<ArrivedWeights> take() {
    const Deadline deadline = Deadline::after_s(30);
    do {
      if (std::optional<ArrivedWeights> arrived = subscriber.take()) return arrived;
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    } while (subscriber.coming() && !deadline.expired());
    return std::nullopt;
  }
  /// The bucket that is asked for now; nothing where no bucket is.
  std::optional<ChunkRequest> asked() {
    const std::optional<std::string> frame = subscriber.due_frame();
    if (!frame || frame_type(bytes_of(*frame)) != MessageType::kChunkRequest) return std::nullopt;
    return decode<ChunkRequest>(bytes_of(*frame));
  }
  bool asks_for_manifest() {
    const std::optional<std::string> frame = subscriber.due_frame();
    return frame && frame_type(bytes_of(*frame)) == MessageType::kManifestRequest;
  }
  void answer(const Published& published, std::uint64_t bucket) { answer(published.manifest.version, bucket, published.bucket(bucket)); }
  void answer(std::uint64_t version, std::uint64_t bucket, std::string bytes) {
    subscriber.receive({version, bucket, false, std::move(bytes)});
    if (std::optional<ArrivedWeights> weights = take()) given.emplace(std::move(*weights));
  }
  /// Serves requests until a version is there or nothing more is asked for.
  std::optional<ArrivedWeights> stream(const Published& published) {
    for (int i = 0; i < 100; ++i) {
      if (std::optional<ArrivedWeights> weights = take()) return weights;
      if (given) return std::exchange(given, std::nullopt);
      const std::optional<ChunkRequest> request = asked();
      if (!request) return std::nullopt;
      REQUIRE(request->version == published.manifest.version);
      answer(published, request->bucket);
    }
    return std::nullopt;
  }

  ManualClock clock;
  WeightSubscriber subscriber;
  std::optional<ArrivedWeights> given;  // out with an answer
};

/// The version in shared memory too, for as long as the result lives.
SharedMemory share(Published& published) {
  published.manifest.shared_memory =
      "/troupe-test-" + std::to_string(::getpid()) + "-v" + std::to_string(published.manifest.version);
  SharedMemory memory = SharedMemory::create(published.manifest.shared_memory, published.bytes.size());
  std::memcpy(memory.writable_bytes().data(), published.bytes.data(), published.bytes.size());
  return memory;
}

TEST_SUITE("actors/weight_subscriber") {
  TEST_CASE("a version comes by the stream, one bucket at a time, in both types") {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Published published = testing::publish(weights(1, dtype), 4, kBucket);
      const std::size_t buckets = published.manifest.bucket_checksums.size();
      REQUIRE(buckets > 2);
      Bench bench;
      CHECK(bench.asks_for_manifest());
      bench.subscriber.offer(published.manifest);

      for (std::uint64_t bucket = 0; bucket < buckets; ++bucket) {
        CHECK_FALSE(bench.given);
        CHECK_FALSE(bench.take());
        const std::optional<ChunkRequest> request = bench.asked();
        REQUIRE(request);
        CHECK((*request == ChunkRequest{4, bucket}));
        CHECK_FALSE(bench.asked());  // one at a time
        bench.answer(published, bucket);
      }

      const std::optional<ArrivedWeights>& arrived = bench.given;
      REQUIRE(arrived);
      CHECK(arrived->version == 4);
      CHECK(std::string(arrived->path) == "stream");
      CHECK((arrived->parameters.flat().scalar_type() == dtype));
      CHECK(equal(arrived->parameters, weights(1, dtype)));
      CHECK(bench.subscriber.held() == 4);
      CHECK_FALSE(bench.subscriber.due_frame());
    }
  }

  TEST_CASE("a version comes from shared memory at once") {
    for (const WeightPath path : {WeightPath::kSharedMemory, WeightPath::kAuto}) {
      Published published = testing::publish(weights(1), 4, kBucket);
      const SharedMemory memory = share(published);
      Bench bench(path, path == WeightPath::kAuto);
      bench.subscriber.offer(published.manifest);

      const std::optional<ArrivedWeights> arrived = bench.take();

      REQUIRE(arrived);
      CHECK(std::string(arrived->path) == "shm");
      CHECK(equal(arrived->parameters, weights(1)));
    }
  }

  TEST_CASE("auto takes the stream where the hub is elsewhere, or shared memory is gone or wrong") {
    for (const std::string how : {"elsewhere", "gone", "wrong", "short"}) {
      CAPTURE(how);
      Published published = testing::publish(weights(1), 4, kBucket);
      std::optional<SharedMemory> memory(share(published));
      if (how == "wrong") memory->writable_bytes()[kBucket + 7] ^= std::byte{1};
      if (how == "gone") memory.reset();
      if (how == "short") {
        const std::string name = memory->name();
        memory.reset();
        memory.emplace(SharedMemory::create(name, published.bytes.size() - 4));
      }
      Bench bench(WeightPath::kAuto, how != "elsewhere");
      bench.subscriber.offer(published.manifest);

      const std::optional<ArrivedWeights> arrived = bench.stream(published);

      REQUIRE(arrived);
      CHECK(equal(arrived->parameters, weights(1)));
      CHECK(bench.subscriber.refused() == (how == "elsewhere" ? 0U : 1U));
    }
  }

  TEST_CASE("shm alone asks for the newest version again and gives up the third time") {
    const Published published = testing::publish(weights(1), 4, kBucket);
    Bench bench(WeightPath::kSharedMemory);
    for (int i = 0; i < 2; ++i) {
      bench.subscriber.offer(published.manifest);
      CHECK_FALSE(bench.take());
      CHECK_FALSE(bench.asks_for_manifest());  // not at once
      bench.clock.advance_ms(10'001);
      CHECK(bench.asks_for_manifest());
    }
    bench.subscriber.offer(published.manifest);

    CHECK_THROWS_WITH_AS((void)bench.take(), doctest::Contains("actors.weights = shm"), TransportError);
  }

  TEST_CASE("a corrupted bucket is asked for again, and nothing is given out until it is right") {
    const Published published = testing::publish(weights(1), 4, kBucket);
    Bench bench;
    bench.subscriber.offer(published.manifest);
    CHECK_FALSE(bench.take());
    REQUIRE(bench.asked());
    std::string corrupted = published.bucket(0);
    corrupted[100] = static_cast<char>(corrupted[100] ^ 4);

    bench.answer(4, 0, corrupted);
    bench.answer(4, 0, published.bucket(0).substr(1));

    CHECK_FALSE(bench.take());
    CHECK(bench.subscriber.refused() == 2);
    CHECK((bench.asked() == ChunkRequest{4, 0}));
    bench.answer(published, 0);
    const std::optional<ArrivedWeights> arrived = bench.stream(published);
    REQUIRE(arrived);
    CHECK(equal(arrived->parameters, weights(1)));
  }

  TEST_CASE("each bucket may be wrong twice") {
    const Published published = testing::publish(weights(1), 4, kBucket);
    Bench bench;
    bench.subscriber.offer(published.manifest);
    CHECK_FALSE(bench.take());
    for (std::uint64_t bucket = 0; bucket < published.manifest.bucket_checksums.size(); ++bucket) {
      bench.answer(4, bucket, "x");
      bench.answer(4, bucket, "x");
      bench.answer(published, bucket);
    }

    REQUIRE(bench.given);
    CHECK(equal(bench.given->parameters, weights(1)));
  }

  TEST_CASE("a bucket that is wrong three times in a row is an error that names it") {
    const Published published = testing::publish(weights(1), 4, kBucket);
    Bench bench;
    bench.subscriber.offer(published.manifest);
    CHECK_FALSE(bench.take());
    bench.answer(published, 0);
    bench.answer(4, 1, "x");
    bench.answer(4, 1, "x");

    CHECK_THROWS_WITH_AS(bench.answer(4, 1, "x"), doctest::Contains("bucket 1 of"), TransportError);
  }

  TEST_CASE("a version that the hub let go makes way for the newest") {
    const Published old_version = testing::publish(weights(1), 4, kBucket);
    const Published new_version = testing::publish(weights(2), 6, kBucket);
    Bench bench;
    bench.subscriber.offer(old_version.manifest);
    CHECK_FALSE(bench.take());
    bench.answer(old_version, 0);
    CHECK_FALSE(bench.take());
    CHECK((bench.asked() == ChunkRequest{4, 1}));

    bench.subscriber.receive({4, 1, true, ""});

    CHECK_FALSE(bench.take());
    CHECK(bench.asks_for_manifest());
    bench.subscriber.offer(new_version.manifest);
    const std::optional<ArrivedWeights> arrived = bench.stream(new_version);
    REQUIRE(arrived);
    CHECK(arrived->version == 6);
    CHECK(equal(arrived->parameters, weights(2)));
  }

  TEST_CASE("a fetch under way is finished, then the newest of those offered meanwhile is fetched") {
    const Published v4 = testing::publish(weights(1), 4, kBucket);
    const Published v5 = testing::publish(weights(2), 5, kBucket);
    const Published v6 = testing::publish(weights(3), 6, kBucket);
    Bench bench;
    bench.subscriber.offer(v4.manifest);
    CHECK_FALSE(bench.take());
    bench.subscriber.offer(v5.manifest);
    bench.subscriber.offer(v6.manifest);
    bench.subscriber.offer(v5.manifest);

    CHECK(bench.stream(v4)->version == 4);
    CHECK(bench.stream(v6)->version == 6);
    bench.subscriber.offer(v5.manifest);
    bench.subscriber.offer(v6.manifest);
    CHECK_FALSE(bench.stream(v6));
  }

  TEST_CASE("an answer that does not come is asked for again after the deadline") {
    const Published published = testing::publish(weights(1), 4, kBucket);
    Bench bench;
    CHECK(bench.asks_for_manifest());
    bench.clock.advance_ms(9'000);
    CHECK_FALSE(bench.asks_for_manifest());
    bench.clock.advance_ms(1'000);
    CHECK(bench.asks_for_manifest());
    bench.subscriber.offer(published.manifest);
    CHECK_FALSE(bench.take());
    CHECK((bench.asked() == ChunkRequest{4, 0}));
    bench.clock.advance_ms(10'000);
    CHECK((bench.asked() == ChunkRequest{4, 0}));
    bench.answer(published, 0);
    bench.answer(published, 0);  // both answers come after all
    CHECK(bench.subscriber.refused() == 0);
    CHECK((bench.asked() == ChunkRequest{4, 1}));
  }

  TEST_CASE("after a new registration a fetch goes on; another incarnation starts it over") {
    const Published v4 = testing::publish(weights(1), 4, kBucket);
    const Published v3 = testing::publish(weights(2), 3, kBucket);
    Bench bench;
    bench.subscriber.offer(v4.manifest);
    CHECK_FALSE(bench.take());
    bench.answer(v4, 0);
    CHECK((bench.asked() == ChunkRequest{4, 1}));

    bench.subscriber.restart(false);
    CHECK((bench.asked() == ChunkRequest{4, 1}));
    bench.answer(v4, 1);
    CHECK(bench.stream(v4)->version == 4);

    bench.subscriber.restart(true);
    CHECK_FALSE(bench.subscriber.held());
    CHECK(bench.asks_for_manifest());
    bench.subscriber.offer(v3.manifest);
    CHECK(bench.stream(v3)->version == 3);
  }

  TEST_CASE("weights of another model are refused by the first tensor that differs") {
    Bench bench;
    Published other = testing::publish(weights(1), 4, kBucket);
    other.manifest.tensors[2].shape[0] += 1;
    CHECK_THROWS_WITH_AS(bench.subscriber.offer(other.manifest),
                         doctest::Contains(other.manifest.tensors[2].name.c_str()), ConfigError);

    other = testing::publish(weights(1), 4, kBucket);
    other.manifest.tensors.pop_back();
    CHECK_THROWS_WITH_AS(bench.subscriber.offer(other.manifest), doctest::Contains("tensors of this actor's model"),
                         ConfigError);

    other = testing::publish(weights(1), 4, kBucket);
    other.manifest.tensors[1].offset_bytes += 4;
    CHECK_THROWS_AS(bench.subscriber.offer(other.manifest), ConfigError);

    other = testing::publish(weights(1), 4, kBucket);
    other.manifest.total_bytes += 4;
    CHECK_THROWS_AS(bench.subscriber.offer(other.manifest), ConfigError);
  }

  TEST_CASE("names of the ways to get weights") {
    CHECK(weight_path_named("auto") == WeightPath::kAuto);
    CHECK(weight_path_named("shm") == WeightPath::kSharedMemory);
    CHECK(weight_path_named("nccl") == WeightPath::kNccl);
    CHECK(weight_path_named("stream") == WeightPath::kStream);
    CHECK_THROWS_WITH_AS((void)weight_path_named("nfs"), doctest::Contains("actors.weights = nfs"), ConfigError);
  }
}

}  // namespace
}  // namespace troupe
