#include "common/transport/peer_session.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "common/base/error.h"
#include "common/messages/messages.h"
#include "common/transport/in_memory_channel.h"
#include "common/transport/zmq_hub_channel.h"
#include "common/transport/zmq_peer_channel.h"
#include "tests/common/messages/samples.h"

using namespace troupe;

namespace {

/// The hub's side by hand: notes what came and answers as it is told.
struct FakeHub {
  std::unique_ptr<HubChannel> channel;
  std::uint64_t incarnation = 1;
  bool answers = true;
  int hellos = 0, heartbeats = 0, others = 0;
  std::vector<PeerId> peers;  // of each Hello
  Heartbeat last_heartbeat;

  void serve() {
    while (auto incoming = channel->receive(Deadline::after_ms(0))) {
      const MessageType type = frame_type(bytes_of(incoming->frame));
      if (type == MessageType::kHello) {
        ++hellos;
        peers.push_back(incoming->peer);
        Welcome welcome = samples::welcome();
        welcome.incarnation = incarnation;
        if (answers) channel->send(incoming->peer, encode(welcome));
      } else if (std::find(peers.begin(), peers.end(), incoming->peer) == peers.end()) {
        channel->send(incoming->peer, encode(Refusal{.reason = "unknown peer", .register_again = true}));
      } else if (type == MessageType::kHeartbeat) {
        ++heartbeats;
        last_heartbeat = decode<Heartbeat>(bytes_of(incoming->frame));
        if (answers) channel->send(incoming->peer, encode(Heartbeat{}));
      } else {
        ++others;
      }
    }
  }
  template <class M>
  void tell(const M& message) {
    REQUIRE(channel->send(peers.back(), encode(message)) == SendResult::kSent);
  }
};

/// Lets both sides run until `done`; false after ten seconds.
bool run_until(PeerSession& session, FakeHub* hub, const std::function<bool()>& done) {
  for (const Deadline deadline = Deadline::after_s(10); !done();) {
    if (deadline.expired()) return false;
    if (hub != nullptr) hub->serve();
    session.poll(Deadline::after_ms(2));
  }
  return true;
}

struct InMemory {
  InMemoryHubChannel* memory = new InMemoryHubChannel();  // owned by `hub`
  FakeHub hub{.channel = std::unique_ptr<HubChannel>(memory), .peers = {}, .last_heartbeat = {}};
  int connections = 0;

  SessionOptions options(double heartbeat_s = 0.3, double reconnect_s = 10) {
    return {.connect = [this] { return memory->connect("peer " + std::to_string(connections++)); },
            .hello = samples::hello(), .heartbeat_s = heartbeat_s, .reconnect_s = reconnect_s};
  }
};

Logger quiet() { return Logger("test", LogLevel::kError); }

}  // namespace

TEST_SUITE("transport/peer_session") {
  TEST_CASE("a session says Hello until it is welcomed, then sends heartbeats and hears them") {
    InMemory over;
    over.hub.answers = false;
    PeerSession session(over.options(), quiet());
    session.make_heartbeat = [] { return samples::heartbeat(); };

    CHECK(run_until(session, &over.hub, [&] { return over.hub.hellos >= 2; }));
    CHECK(session.state() == SessionState::kConnecting);
    CHECK_FALSE(session.send(encode(Credit{.groups = 1}), Deadline::after_ms(0)));
    over.hub.answers = true;
    CHECK(run_until(session, &over.hub, [&] { return over.hub.heartbeats >= 5; }));

    CHECK(session.state() == SessionState::kReady);
    CHECK(session.registration() == 1);
    CHECK(session.welcome().run_id == "run-1");
    CHECK(over.hub.last_heartbeat == samples::heartbeat());
    CHECK(session.send(encode(Credit{.groups = 1}), Deadline::after_ms(100)));
    CHECK(run_until(session, &over.hub, [&] { return over.hub.others == 1; }));
  }

  TEST_CASE("frames for the role come out of poll, and it returns by its deadline") {
    InMemory over;
    PeerSession session(over.options(), quiet());
    REQUIRE(run_until(session, &over.hub, [&] { return session.state() == SessionState::kReady; }));
    const std::string lease = encode(samples::lease());
    over.hub.tell(samples::lease());

    CHECK(session.poll(Deadline::after_ms(1000)) == lease);
    const std::int64_t start = SteadyClock().now_ms();
    CHECK(session.poll(Deadline::after_ms(30)) == std::nullopt);
    const std::int64_t took = SteadyClock().now_ms() - start;
    CHECK(took >= 30);
    CHECK(took < 2000);
  }

  TEST_CASE("a hub restarted on the same port is registered with anew") {
    auto connect_to = std::make_shared<std::string>();
    FakeHub hub{.channel = std::make_unique<ZmqHubChannel>("tcp://127.0.0.1:*"), .peers = {}, .last_heartbeat = {}};
    *connect_to = hub.channel->endpoint();
    const SocketSettings settings{.linger_ms = 0, .reconnect_ms = 10};
    PeerSession session({.connect = [=] { return std::make_unique<ZmqPeerChannel>(*connect_to, settings); },
                         .hello = samples::hello(), .heartbeat_s = 0.15, .reconnect_s = 10},
                        quiet());
    REQUIRE(run_until(session, &hub, [&] { return session.state() == SessionState::kReady; }));

    hub.channel.reset();
    hub = FakeHub{.channel = std::make_unique<ZmqHubChannel>(*connect_to), .incarnation = 2, .peers = {}, .last_heartbeat = {}};

    CHECK(run_until(session, &hub, [&] { return session.registration() == 2; }));
    CHECK(session.state() == SessionState::kReady);
    CHECK(session.welcome().incarnation == 2);
  }

  TEST_CASE("a silent hub is connected to anew, and found again when it speaks") {
    InMemory over;
    PeerSession session(over.options(0.05), quiet());
    REQUIRE(run_until(session, &over.hub, [&] { return session.state() == SessionState::kReady; }));

    over.hub.answers = false;
    CHECK(run_until(session, &over.hub, [&] { return over.connections >= 2; }));
    CHECK(session.state() == SessionState::kConnecting);
    over.hub.answers = true;
    CHECK(run_until(session, &over.hub, [&] { return session.state() == SessionState::kReady; }));
    CHECK(session.registration() == 2);
  }

  TEST_CASE("a hub silent for longer than reconnect_s is lost") {
    InMemory over;
    PeerSession session(over.options(0.05, 0.3), quiet());
    REQUIRE(run_until(session, &over.hub, [&] { return session.state() == SessionState::kReady; }));

    over.hub.answers = false;
    const std::int64_t start = SteadyClock().now_ms();
    CHECK(run_until(session, &over.hub, [&] { return session.state() == SessionState::kLost; }));

    const std::int64_t took = SteadyClock().now_ms() - start;
    CHECK(took >= 300);
    CHECK(took < 1150);
    CHECK(session.exit_code() == 75);
    CHECK(session.reason().starts_with("the hub gave no answer for 0.3 s"));
    CHECK(session.poll(Deadline::after_ms(1000)) == std::nullopt);  // at once
  }

  TEST_CASE("a hub that is never there is lost too, with the reason") {
    PeerSession session({.connect = []() -> std::unique_ptr<PeerChannel> { throw TransportError("no hub.json"); },
                         .hello = samples::hello(), .heartbeat_s = 0.05, .reconnect_s = 0.25},
                        quiet());

    CHECK(run_until(session, nullptr, [&] { return session.state() == SessionState::kLost; }));
    CHECK(session.reason() == "the hub gave no answer for 0.25 s (no hub.json)");
  }

  TEST_CASE("what waiting would not mend ends the session at once") {
    int tries = 0;
    PeerSession session({.connect = [&]() -> std::unique_ptr<PeerChannel> { ++tries; throw ConfigError("the run is finished"); },
                         .hello = samples::hello(), .heartbeat_s = 5, .reconnect_s = 10},
                        quiet());

    CHECK(session.poll(Deadline::after_ms(9000)) == std::nullopt);
    CHECK(session.state() == SessionState::kLost);
    CHECK(session.exit_code() == 75);
    CHECK(session.reason() == "the run is finished");
    CHECK(tries == 1);
  }

  TEST_CASE("a role that was busy for long does not take its own silence for the hub's") {
    InMemory over;
    PeerSession session(over.options(0.2, 0.4), quiet());
    REQUIRE(run_until(session, &over.hub, [&] { return session.state() == SessionState::kReady; }));
    REQUIRE(run_until(session, &over.hub, [&] { return over.hub.heartbeats >= 1; }));
    over.hub.serve();
    session.poll(Deadline::after_ms(0));

    for (const Deadline busy = Deadline::after_ms(900); !busy.expired();) over.hub.serve();
    session.poll(Deadline::after_ms(0));

    CHECK(session.state() == SessionState::kReady);
    CHECK(over.connections == 1);
    CHECK(run_until(session, &over.hub, [&] { return over.hub.heartbeats >= 3; }));
    CHECK(session.registration() == 1);
  }

  TEST_CASE("a refusal that asks for it makes the session register again") {
    InMemory over;
    PeerSession session(over.options(), quiet());
    REQUIRE(run_until(session, &over.hub, [&] { return session.state() == SessionState::kReady; }));

    over.hub.incarnation = 7;
    over.hub.tell(Refusal{.reason = "an older incarnation", .register_again = true});

    CHECK(run_until(session, &over.hub, [&] { return session.registration() == 2; }));
    CHECK(session.welcome().incarnation == 7);
    CHECK(over.connections == 1);
  }

  TEST_CASE("a hub that refuses every Hello is not stormed, and lost in the end") {
    InMemory over;
    over.hub.answers = false;
    PeerSession session(over.options(0.06, 0.3), quiet());
    int refusals = 0;

    CHECK(run_until(session, &over.hub, [&] {
      for (; refusals < over.hub.hellos; ++refusals) over.hub.tell(Refusal{.reason = "not ready", .register_again = true});
      return session.state() == SessionState::kLost;
    }));
    CHECK(over.hub.hellos >= 3);
    CHECK(over.hub.hellos <= 30);
    CHECK(session.reason() == "the hub gave no answer for 0.3 s (not ready)");
  }

  TEST_CASE("a refusal for good ends the session with the hub's reason") {
    InMemory over;
    PeerSession session(over.options(), quiet());
    REQUIRE(run_until(session, &over.hub, [&] { return session.state() == SessionState::kReady; }));

    over.hub.tell(Refusal{.reason = "wrong token", .register_again = false});

    CHECK(run_until(session, &over.hub, [&] { return session.state() == SessionState::kLost; }));
    CHECK(session.reason() == "the hub refused: wrong token");
    CHECK(session.exit_code() == 75);
  }

  TEST_CASE("a Shutdown ends the session with the hub's exit code") {
    InMemory over;
    PeerSession session(over.options(), quiet());
    REQUIRE(run_until(session, &over.hub, [&] { return session.state() == SessionState::kReady; }));

    over.hub.tell(Shutdown{.exit_code = 0, .reason = "finished"});

    CHECK(run_until(session, &over.hub, [&] { return session.state() == SessionState::kShutdown; }));
    CHECK(session.exit_code() == 0);
    CHECK(session.reason() == "finished");
    const auto answer = over.hub.channel->receive(Deadline::after_ms(1000));
    REQUIRE(answer);
    CHECK(decode<Goodbye>(bytes_of(answer->frame)).reason == kDismissed);
    CHECK_FALSE(session.send(encode(Credit{}), Deadline::after_ms(0)));
  }

  TEST_CASE("garbage and early work from the hub are counted, not passed on") {
    InMemory over;
    over.hub.answers = false;
    PeerSession session(over.options(), quiet());
    REQUIRE(run_until(session, &over.hub, [&] { return over.hub.hellos == 1; }));

    over.hub.tell(samples::lease());
    CHECK(run_until(session, &over.hub, [&] { return session.refused_frames() == 1; }));
    over.hub.answers = true;
    REQUIRE(run_until(session, &over.hub, [&] { return session.state() == SessionState::kReady; }));
    REQUIRE(over.hub.channel->send(over.hub.peers.back(), "garbage") == SendResult::kSent);
    std::string damaged = encode(Shutdown{.exit_code = 1, .reason = "x"});
    damaged.back() = 'y';
    REQUIRE(over.hub.channel->send(over.hub.peers.back(), damaged) == SendResult::kSent);

    CHECK(run_until(session, &over.hub, [&] { return session.refused_frames() == 3; }));
    CHECK(session.state() == SessionState::kReady);
  }

  TEST_CASE("a hub that never reads makes send give up at its deadline") {
    InMemoryHubChannel memory(2);
    PeerSession session({.connect = [&] { return memory.connect("p"); }, .hello = samples::hello(), .heartbeat_s = 5, .reconnect_s = 10},
                        quiet());
    session.poll(Deadline::after_ms(0));
    REQUIRE(memory.receive(Deadline::after_ms(100)));
    memory.send("p", encode(samples::welcome()));
    session.poll(Deadline::after_ms(10));
    REQUIRE(session.state() == SessionState::kReady);

    CHECK(session.send("1", Deadline::after_ms(50)));
    CHECK(session.send("2", Deadline::after_ms(50)));
    const std::int64_t start = SteadyClock().now_ms();
    CHECK_FALSE(session.send("3", Deadline::after_ms(50)));
    CHECK(SteadyClock().now_ms() - start >= 50);
  }
}
