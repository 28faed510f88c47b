#include "common/transport/socket_options.h"

#include <string_view>

#include "common/base/error.h"

namespace troupe {
namespace {

constexpr int kReconnectMaxMs = 2000;

void set_common_options(zmq::socket_t& socket, const SocketSettings& settings) {
  socket.set(zmq::sockopt::sndhwm, settings.high_water);
  socket.set(zmq::sockopt::rcvhwm, settings.high_water);
  socket.set(zmq::sockopt::linger, settings.linger_ms);
  socket.set(zmq::sockopt::maxmsgsize, settings.max_message_bytes);
  socket.set(zmq::sockopt::heartbeat_ivl, settings.heartbeat_ms);
  socket.set(zmq::sockopt::heartbeat_timeout, 3 * settings.heartbeat_ms);
  socket.set(zmq::sockopt::ipv6, false);
}

bool is_loopback(std::string_view endpoint) {
  if (endpoint.starts_with("inproc://") || endpoint.starts_with("ipc://")) return true;
  if (!endpoint.starts_with("tcp://")) return false;
  const std::string_view address = endpoint.substr(6);
  const std::string_view host = address.substr(0, address.rfind(':'));
  if (host == "localhost" || host == "[::1]") return true;
  // 127.0.0.0/8, and not a name that only begins like it.
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos;
}

}  // namespace

void set_hub_options(zmq::socket_t& socket, const SocketSettings& settings) {
  set_common_options(socket, settings);
  socket.set(zmq::sockopt::router_mandatory, true);
  socket.set(zmq::sockopt::router_handover, false);
}

void set_peer_options(zmq::socket_t& socket, const SocketSettings& settings, const std::string& routing_id) {
  set_common_options(socket, settings);
  socket.set(zmq::sockopt::immediate, true);
  socket.set(zmq::sockopt::routing_id, routing_id);
  socket.set(zmq::sockopt::reconnect_ivl, settings.reconnect_ms);
  socket.set(zmq::sockopt::reconnect_ivl_max, kReconnectMaxMs);
}

void check_bind_address(const std::string& endpoint, bool insecure) {
  if (insecure || is_loopback(endpoint)) return;
  throw ConfigError("hub address " + endpoint +
                    " can be reached from other machines and the connection is not encrypted: bind to 127.0.0.1, or set "
                    "hub.insecure = true on a network that you trust");
}

}  // namespace troupe
