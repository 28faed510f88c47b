#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/faults/live_run.h"

namespace troupe {
namespace {

using testing::Faults;
using testing::LiveRun;

/// What an undisturbed run with one actor trains on.
const std::vector<std::string>& undisturbed() {
  static const std::vector<std::string> hashes = [] {
    LiveRun run;
    run.add_actor();
    return run.train();
  }();
  return hashes;
}

bool is_result(const std::string& frame) {
  return frame.size() >= kFrameHeaderBytes && frame_type(bytes_of(frame)) == MessageType::kRolloutGroup;
}

TEST_SUITE("faults/actor_faults") {
  TEST_CASE("a run trains on the same groups with two actors, by shared memory and by stream") {
    LiveRun run;
    run.add_actor();
    run.add_actor("another host");

    CHECK(run.train() == undisturbed());
  }

  TEST_CASE("an actor that dies with leases costs nothing but time") {
    LiveRun run;
    const std::shared_ptr<Faults> dying = run.add_actor();
    dying->on_send = [&faults = *dying](const std::string& frame) {
      if (is_result(frame)) faults.mute = true;  // its first result is never heard
    };

    const auto hashes = run.train([&](std::int64_t step) {
      if (step == 2) run.add_actor();
      if (step == 1) run.add_actor();
    });

    CHECK(hashes == undisturbed());
    CHECK(dying->mute);
  }

  TEST_CASE("with every actor dead the run waits, and goes on with one that comes later") {
    LiveRun run;

    const auto hashes = run.train([&](std::int64_t step) {
      if (step != 1) return;
      CHECK_FALSE(run.hub().next_batch(1, Deadline::after_ms(300)));
      CHECK(run.hub().status().waiting_for.find("actor") != std::string::npos);
      run.add_actor();
    });

    CHECK(hashes == undisturbed());
  }

  TEST_CASE("a result that comes twice is taken once") {
    LiveRun run;
    run.add_actor()->twice = is_result;

    CHECK(run.train() == undisturbed());
    CHECK(run.hub().status().late_results > 0);
  }

  TEST_CASE("a corrupted result is refused, its sender registers again and the group is generated anew") {
    LiveRun run;
    std::atomic<int> corrupted = 0;
    run.add_actor()->on_send = [&corrupted](std::string& frame) {
      if (is_result(frame) && ++corrupted <= 2)
        frame[frame.size() / 2] = static_cast<char>(frame[frame.size() / 2] ^ 16);
    };

    CHECK(run.train() == undisturbed());
    CHECK(corrupted > 2);
    CHECK(run.hub().status().refused_frames >= 2);
  }

  TEST_CASE("with lag no group is older than allowed and none is trained twice") {
    LiveRun run(2);
    run.add_actor();
    run.add_actor("another host");

    (void)run.train();  // checks each group's lag

    std::set<std::uint64_t> groups;
    for (const GroupRecord& record : run.records) CHECK(groups.insert(record.group).second);
  }
}

}  // namespace
}  // namespace troupe
