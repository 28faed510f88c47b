#include "rewarders/rewarder_loop.h"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <thread>

#include "common/config/config.h"
#include "common/messages/frame.h"
#include "common/messages/messages.h"
#include "common/transport/in_memory_channel.h"
#include "tests/common/rollout_log/scratch_folder.h"

using namespace troupe;

namespace {

constexpr double kPatienceS = 30;
constexpr const char* kPeer = "rewarder";

/// A hub over the in-memory channel that says what the test wants, and a rewarder with one verifier: a script that takes a fifth of
/// a second a completion and keeps the lines that it was given.
class OneRewarder {
 public:
  OneRewarder() {
    const std::string script = "read rewards; echo '{\"about\": []}'; while read line; do echo \"$line\" >>" + asked().string() +
                               "; sleep 0.2; echo '{\"reward\": 1, \"components\": {}}'; done";
    options_.connect = [this] { return channel_.connect(kPeer); };
    options_.hello.role = Role::kRewarder;
    options_.hello.name = "rewarder 0";
    options_.hello.pid = 1;
    options_.heartbeat_s = 3;
    options_.verifier_command = {"/bin/sh", "-c", script};
    thread_ = std::thread([this] { code_ = run_rewarder(options_, Logger("rewarder", LogLevel::kError)); });
    next(MessageType::kCredit);
  }
  ~OneRewarder() {
    if (thread_.joinable()) end();
  }

  /// A task of this lease with so many completions, each its own text.
  void give(std::uint64_t lease, int completions) {
    ScoreTask task;
    task.lease_id = lease;
    task.incarnation = 1;
    task.group = lease;
    task.row = "{}";
    for (int i = 0; i < completions; ++i) {
      task.completions.push_back("lease " + std::to_string(lease));
      task.token_counts.push_back(1);
      task.finish_reasons.push_back(FinishReason::kStop);
    }
    tell(task);
  }
  void revoke(std::uint64_t lease) { tell(Revoke{{lease}}); }

  /// The next result.
  ScoredGroup result() {
    const auto frame = next(MessageType::kScoredGroup);
    REQUIRE(frame);
    return decode<ScoredGroup>(bytes_of(*frame));
  }
  /// How often the verifier was asked for completions of this lease.
  std::int64_t asked_of(std::uint64_t lease) const {
    const std::string lines = slurp(asked()), text = "lease " + std::to_string(lease);
    std::int64_t count = 0;
    for (std::size_t at = lines.find(text); at != std::string::npos; at = lines.find(text, at + 1)) ++count;
    return count;
  }
  void wait_until_asked_of(std::uint64_t lease) {
    const Deadline deadline = Deadline::after_s(kPatienceS);
    while (asked_of(lease) == 0 && !deadline.expired()) receive(MessageType::kScoredGroup, Deadline::after_ms(10));
    REQUIRE(asked_of(lease) > 0);
  }
  /// The next heartbeat that shows completions of this lease scored.
  Heartbeat wait_for_progress_of(std::uint64_t lease) {
    const Deadline deadline = Deadline::after_s(kPatienceS);
    const auto shown = [&](const LeaseProgress& p) { return p.lease_id == lease && p.tokens > 0; };
    while (std::none_of(beat_.leases.begin(), beat_.leases.end(), shown) && !deadline.expired()) receive(MessageType::kScoredGroup, Deadline::after_ms(10));
    return beat_;
  }
  int end() {
    tell(Shutdown{0, "over"});
    thread_.join();
    return code_;
  }

 private:
  std::filesystem::path asked() const { return scratch_ / "asked"; }

  template <class M>
  void tell(const M& message) {
    CHECK(channel_.send(kPeer, encode(message)) == SendResult::kSent);
  }
  std::optional<std::string> receive(MessageType type, Deadline deadline) {
    const auto incoming = channel_.receive(deadline);
    if (!incoming) return std::nullopt;
    const MessageType found = frame_type(bytes_of(incoming->frame));
    if (found == MessageType::kHello) {
      Welcome welcome;
      welcome.incarnation = 1;
      welcome.run_id = "test";
      welcome.host = "here";
      Config config;
      config.rewards = {{"programs", "code", 1.0, {}}};  // which a verifier is asked for one by one
      welcome.config = print_config(config);
      tell(welcome);
    } else if (found == MessageType::kHeartbeat) {
      beat_ = decode<Heartbeat>(bytes_of(incoming->frame));
      tell(Heartbeat{});
    }
    return found == type ? std::optional(incoming->frame) : std::nullopt;
  }
  std::optional<std::string> next(MessageType type) {
    const Deadline deadline = Deadline::after_s(kPatienceS);
    while (!deadline.expired()) {
      if (auto frame = receive(type, Deadline::after_ms(20))) return frame;
    }
    return std::nullopt;
  }

  Heartbeat beat_;  // the last
  ScratchFolder scratch_;
  InMemoryHubChannel channel_{64};
  RewarderOptions options_;
  int code_ = -1;
  std::thread thread_;
};

}  // namespace

TEST_SUITE("rewarders/rewarder_loop") {
  TEST_CASE("tasks are scored in order, a score for each completion, until the hub ends the run") {
    OneRewarder rewarder;
    rewarder.give(1, 2);
    rewarder.give(2, 1);

    const ScoredGroup first = rewarder.result();
    CHECK(first.lease_id == 1);
    CHECK(first.scores.size() == 2);
    CHECK(first.scores[0].reward == 1.0);
    CHECK(rewarder.result().lease_id == 2);
    CHECK(rewarder.end() == 0);
  }

  TEST_CASE("a task that is revoked in the middle is left alone, and its scores are not handed in") {
    OneRewarder rewarder;
    rewarder.give(1, 100);
    rewarder.give(2, 1);
    rewarder.wait_until_asked_of(1);
    rewarder.revoke(1);

    CHECK(rewarder.result().lease_id == 2);
    CHECK(rewarder.asked_of(1) < 100);
    rewarder.give(1, 1);  // the number of a lease is its own again
    CHECK(rewarder.result().lease_id == 1);
  }

  TEST_CASE("heartbeats tell how many completions of each task are scored, and the end does not wait for the others") {
    OneRewarder rewarder;
    rewarder.give(1, 100);
    rewarder.give(2, 1);

    const Heartbeat beat = rewarder.wait_for_progress_of(1);
    const std::int64_t asked = rewarder.asked_of(1);

    REQUIRE(beat.leases.size() == 2);
    CHECK(beat.leases[0].lease_id == 1);
    CHECK(static_cast<std::int64_t>(beat.leases[0].tokens) <= asked);
    CHECK(beat.leases[1] == LeaseProgress{2, 0});
    CHECK(rewarder.end() == 0);
    CHECK(rewarder.asked_of(1) < 100);
  }

  TEST_CASE("a task that is revoked before its turn is not begun; a lease that nobody has is nothing") {
    OneRewarder rewarder;
    rewarder.give(1, 2);
    for (std::uint64_t lease = 2; lease <= 6; ++lease) rewarder.give(lease, 1);  // beyond what the pool takes at once
    rewarder.revoke(3);
    rewarder.revoke(6);
    rewarder.revoke(99);

    for (const std::uint64_t lease : {1U, 2U, 4U, 5U}) CHECK(rewarder.result().lease_id == lease);
    rewarder.give(99, 1);
    CHECK(rewarder.result().lease_id == 99);
    CHECK(rewarder.asked_of(3) == 0);
    CHECK(rewarder.asked_of(6) == 0);
  }
}
