#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "actors/actor_loop.h"
#include "common/base/error.h"
#include "common/messages/frame.h"
#include "common/messages/messages.h"
#include "common/transport/in_memory_channel.h"
#include "tests/actors/weights_testing.h"
#include "tests/common/model/model_testing.h"

namespace troupe::testing {

inline constexpr double kPatienceS = 60;  // a test that waits longer has failed

/// A hub that does what the test says. Hellos, heartbeats and requests for weights it answers itself while the test
/// waits for something. One thread.
class FakeHub {
 public:
  explicit FakeHub(Config config) : channel_(4096) {
    welcome.incarnation = 1;
    welcome.run_id = "test";
    welcome.host = "here";
    welcome.config = print_config(config);
  }

  std::unique_ptr<PeerChannel> connect() { return channel_.connect(kPeer); }

  template <class M>
  void tell(const M& message) {
    CHECK(channel_.send(kPeer, encode(message)) == SendResult::kSent);
  }

  /// A new version; the actor is told.
  void publish(Published version, bool announce = true) {
    const std::uint64_t number = version.manifest.version;
    versions[number] = std::move(version);
    if (announce) tell(versions[number].manifest);
  }

  /// The next message of type M by the deadline. Others are handled or counted meanwhile.
  template <class M>
  std::optional<M> next(MessageType type, double seconds = kPatienceS) {
    const Deadline deadline = Deadline::after_s(seconds);
    while (!deadline.expired()) {
      const std::optional<Incoming> incoming =
          channel_.receive(Deadline::after_ms(std::min<std::int64_t>(20, deadline.remaining_ms())));
      if (!incoming) continue;
      const MessageType found = frame_type(bytes_of(incoming->frame));
      ++counts[found];
      answer(found, incoming->frame);
      if (found == type) return decode<M>(bytes_of(incoming->frame));
    }
    return std::nullopt;
  }
  RolloutGroup result() {
    std::optional<RolloutGroup> group = next<RolloutGroup>(MessageType::kRolloutGroup);
    REQUIRE(group);
    return std::move(*group);
  }
  /// Publishes a version for the stream and waits until the actor asks for it: by then every lease told before is in
  /// work.
  void publish_and_wait(Published version) {
    publish(std::move(version));
    REQUIRE(next<ChunkRequest>(MessageType::kChunkRequest));
  }

  Welcome welcome;
  std::map<std::uint64_t, Published> versions;
  std::map<MessageType, int> counts;
  int corrupt_chunks = 0;  // so many answers from now on are wrong

 private:
  static constexpr const char* kPeer = "actor";

  /// The actor may have left after it asked.
  template <class M>
  void reply(const M& message) {
    (void)channel_.send(kPeer, encode(message));
  }

  void answer(MessageType type, const std::string& frame) {
    switch (type) {
      case MessageType::kHello:
        reply(welcome);
        break;
      case MessageType::kHeartbeat:
        reply(Heartbeat{});
        break;
      case MessageType::kManifestRequest:
        if (!versions.empty()) reply(versions.rbegin()->second.manifest);
        break;
      case MessageType::kChunkRequest: {
        const auto request = decode<ChunkRequest>(bytes_of(frame));
        const auto found = versions.find(request.version);
        if (found == versions.end()) return reply(WeightChunk{request.version, request.bucket, true, ""});
        WeightChunk chunk{request.version, request.bucket, false, found->second.bucket(request.bucket)};
        if (corrupt_chunks > 0) {
          --corrupt_chunks;
          chunk.bytes[0] = static_cast<char>(chunk.bytes[0] ^ 1);
        }
        reply(chunk);
        break;
      }
      default:
        break;
    }
  }

  InMemoryHubChannel channel_;
};

/// run_actor in a thread of its own.
class RunningActor {
 public:
  explicit RunningActor(ActorOptions options)
      : thread_([this, options = std::move(options)] {
          try {
            exit_code_ = run_actor(options, Logger("actor", LogLevel::kError));
          } catch (...) {
            error_ = std::current_exception();
          }
        }) {}
  ~RunningActor() {
    if (thread_.joinable()) thread_.join();
  }
  RunningActor(const RunningActor&) = delete;
  RunningActor& operator=(const RunningActor&) = delete;

  /// Waits for its end. @throws what it threw.
  int exit_code() {
    thread_.join();
    if (error_) std::rethrow_exception(error_);
    return exit_code_;
  }

 private:
  int exit_code_ = -1;
  std::exception_ptr error_;
  std::thread thread_;  // the last, so that it starts when the rest is there
};

}  // namespace troupe::testing
