#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/base/logger.h"
#include "common/messages/control.h"
#include "common/messages/frame.h"
#include "common/transport/channel.h"

namespace troupe {

/// What a peer's conversation with the hub became.
enum class SessionState {
  kConnecting,  // no Welcome yet
  kReady,
  kLost,        // no Welcome or no word from the hub for deadline.reconnect_s, or refused for good: leave with 75
  kShutdown,    // the hub said so; exit_code() tells
};

struct SessionOptions {
  /// Makes a fresh channel; also used after the hub came back. A ConfigError ends the session: waiting would not mend it.
  std::function<std::unique_ptr<PeerChannel>()> connect;
  Hello hello;
  double heartbeat_s = 10;  // silence after which the hub is taken for gone and the peer connects anew
  double reconnect_s = 60;  // silence after which the session is lost
};

/// A peer's side of the protocol that actors, rewarders and learner ranks share: hello, welcome, heartbeats both ways,
/// re-registration after a hub restart or a Refusal with register_again. One thread at a time.
class PeerSession {
 public:
  PeerSession(SessionOptions options, Logger logger);
  ~PeerSession();
  PeerSession(const PeerSession&) = delete;
  PeerSession& operator=(const PeerSession&) = delete;

  /// The next frame for the role itself (Lease, ScoreTask, WeightManifest, …), or nothing by the deadline. Handles
  /// Welcome, Refusal, Heartbeat and Shutdown itself and sends what is due.
  std::optional<std::string> poll(Deadline deadline);

  /// Sends a frame; false where it could not be sent by the deadline, and at once while the state is not kReady (poll first).
  bool send(std::string frame, Deadline deadline);

  SessionState state() const;
  /// The number of Welcomes so far: work that belongs to an older registration is void.
  std::uint64_t registration() const;
  const Welcome& welcome() const;
  int exit_code() const;
  /// The hub's or the session's reason to end, for the log.
  const std::string& reason() const;
  /// Frames from the hub that could not be taken: garbage, or work sent before the Welcome.
  std::uint64_t refused_frames() const;

  /// Called before each heartbeat is sent; an empty one is sent where the role has set none.
  std::function<Heartbeat()> make_heartbeat;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace troupe
