#pragma once

#include <string>

#include <zmq.hpp>

#include "common/transport/channel.h"
#include "common/transport/socket_options.h"

namespace troupe {

/// "host:pid:random": a routing id that no other channel has, of this process neither.
std::string unique_routing_id();

/// A peer's DEALER socket, with a context of its own. Connecting goes on in the background. One thread at a time.
class ZmqPeerChannel final : public PeerChannel {
 public:
  /// @throws ConfigError where `endpoint` is not an address.
  explicit ZmqPeerChannel(const std::string& endpoint, const SocketSettings& settings = {},
                          const std::string& routing_id = unique_routing_id());

  bool send(std::string frame, Deadline deadline) override;
  std::optional<std::string> receive(Deadline deadline) override;

 private:
  zmq::context_t context_;
  zmq::socket_t socket_;
};

}  // namespace troupe
