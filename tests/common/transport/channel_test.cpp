#include "common/transport/channel.h"

#include <memory>
#include <string>

#include <doctest/doctest.h>

#include "common/base/error.h"
#include "common/messages/control.h"
#include "common/messages/frame.h"
#include "common/transport/in_memory_channel.h"
#include "common/transport/zmq_hub_channel.h"
#include "common/transport/zmq_peer_channel.h"

using namespace troupe;

namespace {

// The same promises over both: each test runs on ZeroMQ over loopback and in memory.

struct OverZmq {
  static constexpr int kFrames = 4;  // queued on each side; the kernel holds more
  SocketSettings settings{.high_water = kFrames, .linger_ms = 0};
  ZmqHubChannel hub{"tcp://127.0.0.1:*", false, settings};
  std::unique_ptr<PeerChannel> connect(const std::string& id) {
    return std::make_unique<ZmqPeerChannel>(hub.endpoint(), settings, id);
  }
};

struct InMemory {
  static constexpr int kFrames = 4;
  InMemoryHubChannel hub{kFrames};
  std::unique_ptr<PeerChannel> connect(const std::string& id) { return hub.connect(id); }
};

Deadline soon() { return Deadline::after_ms(2000); }
Deadline now() { return Deadline::after_ms(0); }

}  // namespace

TEST_SUITE("transport/channel") {
  TEST_CASE_TEMPLATE("frames go both ways, each to its peer", T, OverZmq, InMemory) {
    T over;
    const auto a = over.connect("a");
    const auto b = over.connect("b");

    REQUIRE(a->send("from a", soon()));
    const auto first = over.hub.receive(soon());
    REQUIRE(b->send(std::string("from\0b", 6), soon()));
    const auto second = over.hub.receive(soon());
    REQUIRE(first);
    REQUIRE(second);
    CHECK(over.hub.send("b", "to b") == SendResult::kSent);
    CHECK(over.hub.send("a", "to a") == SendResult::kSent);

    CHECK(first->peer == "a");
    CHECK(first->frame == "from a");
    CHECK(second->peer == "b");
    CHECK(second->frame == std::string("from\0b", 6));
    CHECK(a->receive(soon()) == "to a");
    CHECK(b->receive(soon()) == "to b");
    CHECK(a->receive(now()) == std::nullopt);
    CHECK(!over.hub.receive(now()));
  }

  TEST_CASE_TEMPLATE("a peer that is not there is gone, never silently dropped", T, OverZmq, InMemory) {
    T over;
    CHECK(over.hub.send("nobody", "x") == SendResult::kGone);

    auto peer = over.connect("a");
    REQUIRE(peer->send("hello", soon()));
    REQUIRE(over.hub.receive(soon()));
    peer.reset();

    SendResult result = SendResult::kSent;
    for (const Deadline deadline = soon(); result != SendResult::kGone && !deadline.expired();) {
      result = over.hub.send("a", "x");
      CHECK(!over.hub.receive(Deadline::after_ms(5)));
    }
    CHECK(result == SendResult::kGone);
  }

  TEST_CASE_TEMPLATE("a peer that does not read fills up at once and loses nothing", T, OverZmq, InMemory) {
    T over;
    const auto peer = over.connect("a");
    REQUIRE(peer->send("hello", soon()));
    REQUIRE(over.hub.receive(soon()));

    int sent = 0;
    const std::string mib(1 << 20, 'x');
    SendResult result = SendResult::kSent;
    while (sent < 1000 && (result = over.hub.send("a", std::to_string(sent) + mib)) == SendResult::kSent) ++sent;

    CHECK(result == SendResult::kFull);
    CHECK(sent >= T::kFrames);
    CHECK(sent < 100);
    for (int i = 0; i < sent; ++i) {
      const auto frame = peer->receive(soon());
      REQUIRE(frame);
      CHECK(frame->starts_with(std::to_string(i) + "x"));
    }
    CHECK(peer->receive(Deadline::after_ms(20)) == std::nullopt);
  }

  TEST_CASE_TEMPLATE("a hub that does not read makes send give up at its deadline", T, OverZmq, InMemory) {
    T over;
    const auto peer = over.connect("a");
    const std::string mib(1 << 20, 'x');

    int sent = 0;
    while (sent < 1000 && peer->send(mib, Deadline::after_ms(50))) ++sent;

    CHECK(sent >= T::kFrames);
    CHECK(sent < 100);
    int received = 0;
    while (over.hub.receive(Deadline::after_ms(100))) ++received;
    CHECK(received == sent);
  }

  TEST_CASE("without a hub nothing is taken") {
    ZmqPeerChannel peer("tcp://127.0.0.1:9", {.linger_ms = 0});
    CHECK_FALSE(peer.send("x", Deadline::after_ms(20)));
    CHECK(peer.receive(Deadline::after_ms(5)) == std::nullopt);
  }

  TEST_CASE("what is no address, or taken, is named") {
    CHECK_THROWS_AS(ZmqPeerChannel("hub.example.org"), ConfigError);
    ZmqHubChannel hub("tcp://127.0.0.1:*");
    CHECK_THROWS_AS(ZmqHubChannel(hub.endpoint()), ConfigError);
    CHECK(hub.endpoint().starts_with("tcp://127.0.0.1:"));
    CHECK(ZmqHubChannel("tcp://0.0.0.0:*", true).endpoint().find("0.0.0.0") == std::string::npos);
  }

  TEST_CASE("messages of several parts, raw bytes and HTTP do the hub no harm") {
    ZmqHubChannel hub("tcp://127.0.0.1:*");
    zmq::context_t context(1);
    zmq::socket_t parts(context, zmq::socket_type::dealer);
    parts.set(zmq::sockopt::linger, 0);
    parts.set(zmq::sockopt::routing_id, "parts\x01");
    parts.connect(hub.endpoint());
    zmq::socket_t raw(context, zmq::socket_type::stream);
    raw.set(zmq::sockopt::linger, 0);
    raw.connect(hub.endpoint());
    zmq::message_t raw_id;
    REQUIRE(raw.recv(raw_id));
    raw.send(raw_id, zmq::send_flags::sndmore);
    raw.send(zmq::str_buffer("GET / HTTP/1.1\r\nHost: hub\r\n\r\n"));
    parts.send(zmq::str_buffer("one"), zmq::send_flags::sndmore);
    parts.send(zmq::str_buffer("two"));
    parts.send(zmq::str_buffer("garbage"));

    const auto several = hub.receive(soon());
    const auto garbage = hub.receive(soon());
    REQUIRE(several);
    REQUIRE(garbage);
    CHECK(printable(several->peer) == "parts\\x01");
    CHECK(several->frame.empty());
    CHECK_THROWS_AS(frame_type(bytes_of(several->frame)), ProtocolError);
    CHECK_THROWS_AS(frame_type(bytes_of(garbage->frame)), ProtocolError);

    ZmqPeerChannel honest(hub.endpoint());
    REQUIRE(honest.send(encode(Goodbye{.reason = "done"}), soon()));
    const auto frame = hub.receive(soon());
    REQUIRE(frame);
    CHECK(decode<Goodbye>(bytes_of(frame->frame)).reason == "done");
  }

  TEST_CASE("a message longer than allowed costs its sender the connection and nobody else") {
    ZmqHubChannel hub("tcp://127.0.0.1:*", false, {.max_message_bytes = 1000});
    ZmqPeerChannel greedy(hub.endpoint(), {.linger_ms = 0});
    ZmqPeerChannel honest(hub.endpoint(), {.linger_ms = 0});
    REQUIRE(greedy.send(std::string(1001, 'x'), soon()));
    REQUIRE(honest.send(std::string(1000, 'y'), soon()));

    const auto frame = hub.receive(soon());
    REQUIRE(frame);
    CHECK(frame->frame == std::string(1000, 'y'));
    CHECK(!hub.receive(Deadline::after_ms(30)));
  }

  TEST_CASE("nobody takes over the id of a connected peer") {
    ZmqHubChannel hub("tcp://127.0.0.1:*");
    ZmqPeerChannel first(hub.endpoint(), {.linger_ms = 0}, "same");
    REQUIRE(first.send("first", soon()));
    REQUIRE(hub.receive(soon()));
    ZmqPeerChannel second(hub.endpoint(), {.linger_ms = 0}, "same");
    second.send("second", Deadline::after_ms(50));

    CHECK(!hub.receive(Deadline::after_ms(50)));
    CHECK(hub.send("same", "to the first") == SendResult::kSent);
    CHECK(first.receive(soon()) == "to the first");
    CHECK(unique_routing_id() != unique_routing_id());
  }
}
