#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "common/base/clock.h"

namespace troupe {

/// The address of a peer as the hub sees it. Opaque.
using PeerId = std::string;

enum class SendResult {
  kSent,
  kFull,  // the peer does not read: nothing was sent
  kGone,  // the peer is not connected: nothing was sent
};

struct Incoming {
  PeerId peer;
  std::string frame;
};

/// The hub's end: one socket for all peers. Never blocks in send, never drops silently. One thread at a time.
class HubChannel {
 public:
  virtual ~HubChannel() = default;
  virtual SendResult send(const PeerId& peer, std::string frame) = 0;
  /// The next frame of any peer, or nothing by the deadline.
  virtual std::optional<Incoming> receive(Deadline deadline) = 0;
  /// Where peers connect to, e.g. "tcp://127.0.0.1:43210".
  virtual std::string endpoint() const = 0;
};

/// A peer's end. One thread at a time.
class PeerChannel {
 public:
  virtual ~PeerChannel() = default;
  /// False where the hub took nothing by the deadline; nothing was sent then.
  virtual bool send(std::string frame, Deadline deadline) = 0;
  virtual std::optional<std::string> receive(Deadline deadline) = 0;
};

/// A peer's id for logs: what is not printable ASCII as \xNN.
std::string printable(const PeerId& peer);

/// Bytes of a frame, for encode/decode.
inline std::span<const std::byte> bytes_of(const std::string& frame) {
  return std::as_bytes(std::span(frame.data(), frame.size()));
}

}  // namespace troupe
