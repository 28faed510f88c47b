#include "common/transport/socket_options.h"

#include <doctest/doctest.h>

#include "common/base/error.h"
#include "common/transport/zmq_hub_channel.h"

using namespace troupe;

namespace {

void check_common(const zmq::socket_t& socket) {
  CHECK(socket.get(zmq::sockopt::sndhwm) == 17);
  CHECK(socket.get(zmq::sockopt::rcvhwm) == 17);
  CHECK(socket.get(zmq::sockopt::linger) == 250);
  CHECK(socket.get(zmq::sockopt::maxmsgsize) == 4096);
  CHECK(socket.get(zmq::sockopt::heartbeat_ivl) == 400);
  CHECK(socket.get(zmq::sockopt::heartbeat_timeout) == 1200);
}

const SocketSettings kSettings = {
    .high_water = 17, .linger_ms = 250, .heartbeat_ms = 400, .reconnect_ms = 30, .max_message_bytes = 4096};

}  // namespace

TEST_SUITE("transport/socket_options") {
  TEST_CASE("a hub's socket has what was set") {
    zmq::context_t context(1);
    zmq::socket_t socket(context, zmq::socket_type::router);

    set_hub_options(socket, kSettings);

    check_common(socket);
    // MANDATORY cannot be read back: it shows in what a send to nobody does.
    CHECK_THROWS_AS(socket.send(zmq::str_buffer("nobody"), zmq::send_flags::sndmore | zmq::send_flags::dontwait), zmq::error_t);
  }

  TEST_CASE("a peer's socket has what was set") {
    zmq::context_t context(1);
    zmq::socket_t socket(context, zmq::socket_type::dealer);

    set_peer_options(socket, kSettings, "host:1:2");

    check_common(socket);
    CHECK(socket.get(zmq::sockopt::immediate) == 1);
    CHECK(socket.get(zmq::sockopt::routing_id) == "host:1:2");
    CHECK(socket.get(zmq::sockopt::reconnect_ivl) == 30);
    CHECK(socket.get(zmq::sockopt::reconnect_ivl_max) == 2000);
  }

  TEST_CASE("the defaults bound every queue, message and wait") {
    const SocketSettings settings;
    CHECK(settings.high_water > 0);
    CHECK(settings.linger_ms >= 0);
    CHECK(settings.max_message_bytes == (1 << 30) + 24);
  }

  TEST_CASE("only this machine's own addresses are bound without hub.insecure") {
    for (const char* open : {"tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://10.0.0.1:*", "tcp://127.example.org:1", "tcp://eth0:1",
                             "tcp://localhost.example.org:1", "tcp://[::]:1", "127.0.0.1:1"}) {
      CAPTURE(open);
      CHECK_THROWS_AS(check_bind_address(open, false), ConfigError);
      CHECK_NOTHROW(check_bind_address(open, true));
    }
    for (const char* own : {"tcp://127.0.0.1:*", "tcp://127.1.2.3:9", "tcp://localhost:5555", "tcp://[::1]:1", "inproc://x"}) {
      CAPTURE(own);
      CHECK_NOTHROW(check_bind_address(own, false));
    }
    CHECK_THROWS_AS(ZmqHubChannel("tcp://0.0.0.0:*"), ConfigError);
  }
}
