#pragma once

#include <cstdint>
#include <string>

#include <zmq.hpp>

#include "common/messages/frame.h"

namespace troupe {

/// What is set on every ZeroMQ socket of a run; nowhere else are socket options set.
struct SocketSettings {
  int high_water = 256;        // frames queued for one peer, each way; the hub's credit keeps well below it
  int linger_ms = 1000;        // how long closing may wait to deliver what was sent
  int heartbeat_ms = 5000;     // ZMTP pings; a connection without an answer for three of them is closed
  int reconnect_ms = 100;      // first pause before connecting again, doubling up to 2 s
  std::int64_t max_message_bytes = static_cast<std::int64_t>(kMaxFrameBytes + kFrameHeaderBytes);
};

/// For the hub's ROUTER: MANDATORY (an unknown or full peer is an error, not a silent drop), no HANDOVER (nobody takes over the
/// routing id of a connected peer). Before bind.
void set_hub_options(zmq::socket_t& socket, const SocketSettings& settings);

/// For a peer's DEALER: IMMEDIATE (nothing is queued for a hub that is not there) and its routing id. Before connect.
void set_peer_options(zmq::socket_t& socket, const SocketSettings& settings, const std::string& routing_id);

/// Refuses an address that others than this machine can reach unless the user said `hub.insecure`.
/// @throws ConfigError naming the address and what to do.
void check_bind_address(const std::string& endpoint, bool insecure);

}  // namespace troupe
