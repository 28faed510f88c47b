#pragma once

#include <string>

#include <zmq.hpp>

#include "common/transport/channel.h"
#include "common/transport/socket_options.h"

namespace troupe {

/// The hub's ROUTER socket, with a context of its own. One thread at a time.
class ZmqHubChannel final : public HubChannel {
 public:
  /// Binds to `endpoint`, e.g. "tcp://127.0.0.1:*" (any free port) or "tcp://0.0.0.0:5555".
  /// @throws ConfigError where the address is open to others and not `insecure`, or cannot be had (in use …).
  explicit ZmqHubChannel(const std::string& endpoint, bool insecure = false, const SocketSettings& settings = {});

  SendResult send(const PeerId& peer, std::string frame) override;
  /// A message that is not one id and one frame comes as an empty frame, so that decoding refuses it by the peer's name.
  std::optional<Incoming> receive(Deadline deadline) override;
  /// A wildcard address is given with this host's name.
  std::string endpoint() const override { return endpoint_; }

 private:
  zmq::context_t context_;
  zmq::socket_t socket_;
  std::string endpoint_;
};

}  // namespace troupe
