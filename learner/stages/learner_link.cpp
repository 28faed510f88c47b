#include "learner/stages/learner_link.h"

#include <unistd.h>

#include "common/base/error.h"
#include "common/messages/frame.h"
#include "common/transport/peer_session.h"

namespace troupe {
namespace {

constexpr std::int64_t kBeatMs = 1000;
constexpr std::int64_t kPollMs = 50;

}  // namespace

LearnerLink::LearnerLink(Options options, RankBoard& board, Logger logger)
    : options_(std::move(options)), board_(board), logger_(std::move(logger)), shards_(2), thread_([this] {
        try {
          converse();
        } catch (const std::exception& error) {
          ended_ = error.what();
        }
        shards_.close();
      }) {}

LearnerLink::~LearnerLink() {
  leaving_ = true;
  thread_.join();
}

std::optional<StepShard> LearnerLink::next(Deadline deadline) {
  auto shard = shards_.pop(deadline);
  if (!shard && shards_.closed()) {
    throw TransportError("learner rank " + std::to_string(options_.rank) + ": the hub in learner rank 0 is gone: " + ended_);
  }
  return shard;
}

void LearnerLink::converse() {
  Hello hello;
  hello.role = Role::kLearner;
  hello.name = "learner " + std::to_string(options_.rank) + " @" + options_.host;
  hello.host = options_.host;
  hello.pid = static_cast<std::uint64_t>(getpid());
  hello.rank = options_.rank;
  hello.token = options_.token;
  // Rank 0 is in the same MPI job: when it is gone it does not come back, so there is nothing to reconnect to.
  PeerSession session({options_.connect, hello, options_.heartbeat_s, options_.heartbeat_s}, logger_);
  const SteadyClock clock;
  std::int64_t next_beat_ms = 0;
  while (!leaving_) {
    const auto frame = session.poll(Deadline::after_ms(kPollMs));
    if (session.state() == SessionState::kLost || session.state() == SessionState::kShutdown) {
      ended_ = session.reason();
      return;
    }
    if (session.state() == SessionState::kReady && clock.now_ms() >= next_beat_ms) {
      session.send(encode(board_.own()), Deadline::after_ms(kPollMs));
      next_beat_ms = clock.now_ms() + kBeatMs;
    }
    if (!frame) continue;
    const MessageType type = frame_type(bytes_of(*frame));
    if (type == MessageType::kLearnerBeat) board_.heard(decode<LearnerBeat>(bytes_of(*frame)));
    if (type != MessageType::kStepShard) continue;
    StepShard shard = decode<StepShard>(bytes_of(*frame));
    while (!leaving_ && !shards_.push(shard, Deadline::after_ms(kPollMs))) session.poll(Deadline::after_ms(kPollMs));
  }
}

}  // namespace troupe
