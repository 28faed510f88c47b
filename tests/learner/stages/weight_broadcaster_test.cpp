#include "learner/stages/weight_broadcaster.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/messages/frame.h"
#include "common/transport/channel.h"
#include "tests/actors/fake_broadcast.h"

namespace troupe {
namespace {

using testing::FakeBroadcasts;

/// A broadcaster among actors that a test makes up.
struct Bench {
  explicit Bench(const std::string& gpu = "GPU-0") {
    WeightBroadcaster::Options options;
    options.gpu = gpu;
    options.takers = [this] { return takers; };
    options.tell = [this](const PeerId& peer, std::string frame) { told.emplace_back(peer, std::move(frame)); };
    options.new_id = [this] { return std::string(128, static_cast<char>('a' + ids++)); };
    options.join = [this](const BroadcastPlace& place) { return broadcasts.join(place); };
    broadcaster.emplace(std::move(options), Logger("test", LogLevel::kError));
  }

  void send(std::uint64_t version) { broadcaster->send(at::zeros({8}), version).get(); }
  /// What was told since the last call, as text.
  std::vector<std::string> news() {
    std::vector<std::string> texts;
    for (const auto& [peer, frame] : std::exchange(told, {})) {
      const auto bytes = bytes_of(frame);
      if (frame_type(bytes) == MessageType::kWeightGroup) {
        const auto group = decode<WeightGroup>(bytes);
        texts.push_back(peer + ": group " + std::to_string(group.group) + " " + group.id.substr(0, 1) + " rank " + std::to_string(group.rank) +
                        " of " + std::to_string(group.size));
      } else {
        const auto broadcast = decode<WeightBroadcast>(bytes);
        texts.push_back(peer + ": version " + std::to_string(broadcast.version) + " in group " + std::to_string(broadcast.group));
      }
    }
    return texts;
  }
  /// Publishes versions from `version` on until one is announced; that one, or 0.
  std::uint64_t publish_until_announced(std::uint64_t version) {
    for (int i = 0; i < 2000; ++i, ++version) {
      send(version);
      const std::vector<std::string> texts = news();
      if (!texts.empty() && texts.front().find(": version " + std::to_string(version)) != std::string::npos) return version;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return 0;
  }

  FakeBroadcasts broadcasts;
  std::vector<WeightTaker> takers;
  std::vector<std::pair<PeerId, std::string>> told;
  int ids = 0;
  std::optional<WeightBroadcaster> broadcaster;  // last: it uses all of the above
};

using Texts = std::vector<std::string>;

TEST_SUITE("learner/stages/weight_broadcaster") {
  TEST_CASE("actors with a GPU of their own get a group, and are told of versions once it is there") {
    Bench bench;
    bench.takers = {{"x", "actor 0", "GPU-1", 1}, {"y", "actor 1", "GPU-0", 2}, {"z", "actor 2", "GPU-2", 3}, {"w", "actor 3", "GPU-1", 4}};  // x is dead

    bench.send(0);
    CHECK(bench.news() == Texts{"w: group 1 a rank 1 of 3", "z: group 1 a rank 2 of 3"});

    CHECK(bench.publish_until_announced(1) > 0);
    CHECK((bench.broadcasts.places() == std::vector<BroadcastPlace>{{std::string(128, 'a'), 0, 3}}));
    bench.send(5000);
    CHECK(bench.news() == Texts{"w: version 5000 in group 1", "z: version 5000 in group 1"});
  }

  TEST_CASE("when an actor comes, goes or offers anew another group is made") {
    Bench bench;
    bench.takers = {{"x", "actor 0", "GPU-1", 1}};
    CHECK(bench.publish_until_announced(0) > 0);
    bench.takers.push_back({"z", "actor 2", "GPU-2", 2});
    bench.send(5000);
    CHECK(bench.news() == Texts{"z: group 2 b rank 1 of 3", "x: group 2 b rank 2 of 3"});
    CHECK(bench.publish_until_announced(5001) > 0);
    bench.takers.erase(bench.takers.begin());
    bench.send(9000);
    CHECK(bench.news() == Texts{"z: group 3 c rank 1 of 2"});
    CHECK(bench.publish_until_announced(9001) > 0);
    bench.takers.front().offer = 7;
    bench.send(13000);
    CHECK(bench.news() == Texts{"z: group 4 d rank 1 of 2"});
    CHECK(bench.publish_until_announced(13001) > 0);
    bench.takers.clear();
    bench.send(17000);
    CHECK(bench.news().empty());
  }

  TEST_CASE("a broadcast that fails ends the group until its members offer anew") {
    Bench bench;
    bench.takers = {{"x", "actor 0", "GPU-1", 1}};
    const std::uint64_t version = bench.publish_until_announced(0);
    bench.broadcasts.dead_member = true;
    bench.send(version + 1);
    CHECK(bench.news().size() == 1);
    bench.broadcasts.dead_member = false;

    bench.send(version + 2);
    CHECK(bench.news().empty());
    bench.takers.front().offer = 2;
    CHECK(bench.publish_until_announced(version + 3) > 0);
    CHECK(bench.ids == 2);
  }

  TEST_CASE("a group that cannot be made is not tried again with the same offers") {
    Bench bench;
    bench.broadcasts.refuse_joins = true;
    bench.takers = {{"x", "actor 0", "GPU-1", 1}};
    bench.send(0);
    CHECK(bench.news().size() == 1);
    for (std::uint64_t version = 1; version < 50; ++version) {
      bench.send(version);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(bench.news().empty());
    CHECK(bench.ids == 1);
  }

  TEST_CASE("a learner on the CPU, or actors on its own GPU alone, make no group") {
    for (const std::string gpu : {"", "GPU-1"}) {
      Bench bench(gpu);
      bench.takers = {{"x", "actor 0", "GPU-1", 1}};
      bench.send(0);
      CHECK(bench.news().empty());
      CHECK(bench.ids == 0);
    }
  }
}

}  // namespace
}  // namespace troupe
