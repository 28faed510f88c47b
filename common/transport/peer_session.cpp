#include "common/transport/peer_session.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <limits>
#include <thread>
#include <utility>

#include "common/base/error.h"
#include "common/base/text.h"

namespace troupe {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kHelloMs = 1000;        // between two Hellos while there is no Welcome
constexpr std::int64_t kSendRetryMs = 20;      // the channel is still connecting, or full
constexpr std::int64_t kFirstPauseMs = 200;    // before a fresh channel; doubled each time nothing was heard
constexpr std::int64_t kLongestPauseMs = 2000;
constexpr int kExitLost = 75;

std::int64_t ms_of(double s) { return std::max<std::int64_t>(1, static_cast<std::int64_t>(s * 1000)); }

}  // namespace

struct PeerSession::State {
  State(SessionOptions given, Logger log)
      : options(std::move(given)),
        logger(std::move(log)),
        heartbeat_ms(ms_of(options.heartbeat_s)),
        reconnect_ms(ms_of(options.reconnect_s)),
        beat_every_ms(std::max<std::int64_t>(1, heartbeat_ms / 3)),
        hello_every_ms(std::min(kHelloMs, beat_every_ms)) {}

  std::int64_t now() const { return clock.now_ms(); }
  bool ended() const { return state == SessionState::kLost || state == SessionState::kShutdown; }

  void ensure_channel();
  void drop_channel(const std::string& why);
  void send_what_is_due(const std::function<Heartbeat()>& beat);
  void judge_silence();
  std::int64_t next_event_ms() const;
  bool take(const std::string& frame);
  void on_welcome(Welcome message);
  void on_refusal(const Refusal& message);
  void refuse(const std::string& why);
  void end(SessionState how, int code, std::string why);

  const SessionOptions options;
  const Logger logger;
  const SteadyClock clock;
  const std::int64_t heartbeat_ms, reconnect_ms, beat_every_ms, hello_every_ms;

  SessionState state = SessionState::kConnecting;
  std::unique_ptr<PeerChannel> channel;
  std::uint64_t registration = 0;
  std::uint64_t refused_frames = 0;
  Welcome welcome;
  int exit_code = kExitLost;
  std::string reason;

  // Silence is counted from the first question without an answer, not from the last word heard: a role that was busy for long
  // has asked nothing meanwhile.
  std::int64_t channel_asked_at = kNever;  // on this channel
  std::int64_t asked_at = kNever;          // since the hub was last heard by a registered session
  std::int64_t next_send_at = 0;           // Hello or Heartbeat
  std::int64_t hello_at = 0;               // the last one
  std::int64_t next_connect_at = 0;
  std::int64_t pause_ms = kFirstPauseMs;
};

void PeerSession::State::ensure_channel() {
  if (channel || now() < next_connect_at) return;
  if (asked_at == kNever) asked_at = now();
  try {
    channel = options.connect();
    channel_asked_at = kNever;
    next_send_at = now();
  } catch (const ConfigError& e) {
    end(SessionState::kLost, kExitLost, e.what());
  } catch (const Error& e) {
    drop_channel(e.what());
  }
}

void PeerSession::State::drop_channel(const std::string& why) {
  if (reason != why) logger.warning("connecting to the hub anew: " + why);
  reason = why;
  channel.reset();
  state = SessionState::kConnecting;
  channel_asked_at = kNever;
  next_connect_at = now() + pause_ms;
  pause_ms = std::min(2 * pause_ms, kLongestPauseMs);
}

void PeerSession::State::send_what_is_due(const std::function<Heartbeat()>& beat) {
  if (!channel || now() < next_send_at) return;
  const bool ready = state == SessionState::kReady;
  const std::string frame = ready ? encode(beat ? beat() : Heartbeat{}) : encode(options.hello);
  channel_asked_at = std::min(channel_asked_at, now());
  asked_at = std::min(asked_at, now());
  try {
    const bool sent = channel->send(frame, Deadline::after_ms(0));
    if (sent && !ready) hello_at = now();
    next_send_at = now() + (!sent ? kSendRetryMs : ready ? beat_every_ms : hello_every_ms);
  } catch (const TransportError& e) {
    drop_channel(e.what());
  }
}

/// Only after the channel was found empty: what waits in it may be the answer.
void PeerSession::State::judge_silence() {
  if (asked_at != kNever && now() - asked_at > reconnect_ms) {
    const std::string last = reason.empty() ? "" : " (" + reason + ")";
    end(SessionState::kLost, kExitLost, "the hub gave no answer for " + shortest(options.reconnect_s) + " s" + last);
  } else if (channel && channel_asked_at != kNever && now() - channel_asked_at > heartbeat_ms) {
    drop_channel("nothing was heard from the hub for " + shortest(options.heartbeat_s) + " s");
  }
}

std::int64_t PeerSession::State::next_event_ms() const {
  std::int64_t at = channel ? next_send_at : next_connect_at;
  if (channel_asked_at != kNever) at = std::min(at, channel_asked_at + heartbeat_ms + 1);
  if (asked_at != kNever) at = std::min(at, asked_at + reconnect_ms + 1);
  return std::max<std::int64_t>(0, at - now());
}

/// True where the frame is for the role itself.
bool PeerSession::State::take(const std::string& frame) {
  bool for_role = false;
  try {
    switch (frame_type(bytes_of(frame))) {
      case MessageType::kWelcome:
        on_welcome(decode<Welcome>(bytes_of(frame)));
        break;
      case MessageType::kRefusal:
        on_refusal(decode<Refusal>(bytes_of(frame)));
        break;
      case MessageType::kHeartbeat:
        decode<Heartbeat>(bytes_of(frame));
        break;
      case MessageType::kShutdown: {
        const auto message = decode<Shutdown>(bytes_of(frame));
        end(SessionState::kShutdown, message.exit_code, message.reason);
        try {
          channel->send(encode(Goodbye{kDismissed}), Deadline::after_ms(0));
        } catch (const TransportError&) {  // the hub waits for it, but not for ever
        }
        break;
      }
      default:
        for_role = state == SessionState::kReady;
        if (!for_role) refuse(std::string(name_of(frame_type(bytes_of(frame)))) + " came before the Welcome");
    }
  } catch (const ProtocolError& e) {
    refuse(e.what());
  }
  channel_asked_at = kNever;
  if (state == SessionState::kReady) {
    asked_at = kNever;
    pause_ms = kFirstPauseMs;
  }
  return for_role;
}

void PeerSession::State::on_welcome(Welcome message) {
  // A Hello that was sent twice is welcomed twice.
  if (state == SessionState::kReady && message.incarnation == welcome.incarnation) return;
  welcome = std::move(message);
  state = SessionState::kReady;
  reason.clear();
  ++registration;
  next_send_at = now() + beat_every_ms;
  logger.info("registered with the hub incarnation=" + std::to_string(welcome.incarnation) +
              " registration=" + std::to_string(registration));
}

void PeerSession::State::on_refusal(const Refusal& message) {
  if (!message.register_again) return end(SessionState::kLost, kExitLost, "the hub refused: " + message.reason);
  if (reason != message.reason) logger.info("registering again: " + message.reason);
  reason = message.reason;
  // At once the first time; a hub that refuses the Hello itself is not asked faster than ever.
  next_send_at = state == SessionState::kReady ? now() : hello_at + hello_every_ms;
  state = SessionState::kConnecting;
  asked_at = std::min(asked_at, now());
}

void PeerSession::State::refuse(const std::string& why) {
  ++refused_frames;
  // The first, second, fourth, eighth …: a flood of garbage must not become a flood of lines.
  if (std::has_single_bit(refused_frames)) {
    logger.warning("refused a frame from the hub: " + why + " count=" + std::to_string(refused_frames));
  }
}

void PeerSession::State::end(SessionState how, int code, std::string why) {
  state = how;
  exit_code = code;
  reason = std::move(why);
  logger.info((how == SessionState::kLost ? "hub lost: " : "hub ends the session: ") + reason);
}

PeerSession::PeerSession(SessionOptions options, Logger logger)
    : state_(std::make_unique<State>(std::move(options), std::move(logger))) {}
PeerSession::~PeerSession() = default;

std::optional<std::string> PeerSession::poll(Deadline deadline) {
  State& s = *state_;
  while (!s.ended()) {
    s.ensure_channel();
    if (s.ended()) break;
    s.send_what_is_due(make_heartbeat);
    const std::int64_t wait_ms = std::min(deadline.remaining_ms(), s.next_event_ms());
    if (s.channel) {
      try {
        std::optional<std::string> frame = s.channel->receive(Deadline::after_ms(wait_ms));
        if (frame && s.take(*frame)) return frame;
        if (frame) continue;
      } catch (const TransportError& e) {
        s.drop_channel(e.what());
      }
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
    }
    s.judge_silence();
    if (deadline.expired()) break;
  }
  return std::nullopt;
}

bool PeerSession::send(std::string frame, Deadline deadline) {
  State& s = *state_;
  if (s.state != SessionState::kReady || !s.channel) return false;
  try {
    return s.channel->send(std::move(frame), deadline);
  } catch (const TransportError& e) {
    s.drop_channel(e.what());
    return false;
  }
}

SessionState PeerSession::state() const { return state_->state; }
std::uint64_t PeerSession::registration() const { return state_->registration; }
const Welcome& PeerSession::welcome() const { return state_->welcome; }
int PeerSession::exit_code() const { return state_->exit_code; }
const std::string& PeerSession::reason() const { return state_->reason; }
std::uint64_t PeerSession::refused_frames() const { return state_->refused_frames; }

}  // namespace troupe
