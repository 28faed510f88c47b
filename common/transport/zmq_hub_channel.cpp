#include "common/transport/zmq_hub_channel.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/transport/zmq_socket.h"

namespace troupe {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

/// "tcp://0.0.0.0:5555" is where to bind, not where to connect.
std::string reachable(std::string endpoint) {
  constexpr std::string_view kAny = "tcp://0.0.0.0:";
  if (endpoint.starts_with(kAny)) endpoint = "tcp://" + host_name() + ":" + endpoint.substr(kAny.size());
  return endpoint;
}

}  // namespace

ZmqHubChannel::ZmqHubChannel(const std::string& endpoint, bool insecure, const SocketSettings& settings)
    : context_(1), socket_(context_, zmq::socket_type::router) {
  check_bind_address(endpoint, insecure);
  set_hub_options(socket_, settings);
  try {
    socket_.bind(endpoint);
  } catch (const zmq::error_t& e) {
    throw ConfigError("hub.bind = " + endpoint + ": expected a free port of this machine: " + e.what());
  }
  endpoint_ = reachable(socket_.get(zmq::sockopt::last_endpoint));
}

SendResult ZmqHubChannel::send(const PeerId& peer, std::string frame) {
  fault::point("hub.send");
  try {
    // The id is where MANDATORY refuses; the frame then belongs to a pipe that has room.
    if (!socket_.send(zmq::buffer(peer), zmq::send_flags::sndmore | zmq::send_flags::dontwait)) return SendResult::kFull;
    zmq::message_t message = message_of(std::move(frame));
    socket_.send(message, zmq::send_flags::dontwait);
    return SendResult::kSent;
  } catch (const zmq::error_t& e) {
    if (e.num() == EHOSTUNREACH || e.num() == ECONNRESET) return SendResult::kGone;
    throw TransportError(std::string("the hub cannot send: ") + e.what());
  }
}

std::optional<Incoming> ZmqHubChannel::receive(Deadline deadline) {
  try {
    zmq::message_t id;
    while (!socket_.recv(id, zmq::recv_flags::dontwait)) {
      if (!wait_for(socket_, ZMQ_POLLIN, deadline)) return std::nullopt;
    }
    zmq::message_t part;
    int parts = 0;
    for (bool more = id.more(); more; more = part.more()) {
      (void)socket_.recv(part);  // the parts of a message arrive together
      ++parts;
    }
    fault::point("hub.receive");
    return Incoming{id.to_string(), parts == 1 ? part.to_string() : std::string()};
  } catch (const zmq::error_t& e) {
    throw TransportError(std::string("the hub cannot receive: ") + e.what());
  }
}

}  // namespace troupe
