#include "common/transport/zmq_peer_channel.h"

#include <unistd.h>

#include <array>
#include <random>
#include <utility>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/transport/zmq_socket.h"

namespace troupe {

std::string unique_routing_id() {
  std::array<char, 65> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '?';
  std::random_device random;
  const std::uint64_t number = (std::uint64_t{random()} << 32) | random();
  return std::string(host.data()) + ":" + std::to_string(getpid()) + ":" + std::to_string(number);
}

ZmqPeerChannel::ZmqPeerChannel(const std::string& endpoint, const SocketSettings& settings, const std::string& routing_id)
    : context_(1), socket_(context_, zmq::socket_type::dealer) {
  set_peer_options(socket_, settings, routing_id);
  try {
    socket_.connect(endpoint);
  } catch (const zmq::error_t& e) {
    throw ConfigError("hub address \"" + endpoint + "\": expected tcp://HOST:PORT (" + e.what() + ")");
  }
}

bool ZmqPeerChannel::send(std::string frame, Deadline deadline) {
  fault::point("peer.send");
  try {
    zmq::message_t message = message_of(std::move(frame));
    do {
      if (socket_.send(message, zmq::send_flags::dontwait)) return true;
    } while (wait_for(socket_, ZMQ_POLLOUT, deadline));
    return false;
  } catch (const zmq::error_t& e) {
    throw TransportError(std::string("cannot send to the hub: ") + e.what());
  }
}

std::optional<std::string> ZmqPeerChannel::receive(Deadline deadline) {
  try {
    zmq::message_t part;
    while (!socket_.recv(part, zmq::recv_flags::dontwait)) {
      if (!wait_for(socket_, ZMQ_POLLIN, deadline)) return std::nullopt;
    }
    fault::point("peer.receive");
    if (!part.more()) return part.to_string();
    while (part.more()) (void)socket_.recv(part);
    return std::string();  // several parts are no frame: decoding refuses the empty one
  } catch (const zmq::error_t& e) {
    throw TransportError(std::string("cannot receive from the hub: ") + e.what());
  }
}

}  // namespace troupe
