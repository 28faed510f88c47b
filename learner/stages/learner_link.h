#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "common/base/bounded_queue.h"
#include "common/base/logger.h"
#include "common/messages/control.h"
#include "common/transport/channel.h"
#include "learner/hub/rank_board.h"

namespace troupe {

/// The conversation of a learner rank other than 0 with the hub in rank 0, in a thread of its own: its beat every second,
/// the other ranks' in answer, and the parts of steps that rank 0 hands it. So no rank waits for a batch inside MPI.
class LearnerLink {
 public:
  struct Options {
    std::function<std::unique_ptr<PeerChannel>()> connect;
    std::uint32_t rank = 0;
    std::string host;
    std::string token;
    double heartbeat_s = 10;
  };
  LearnerLink(Options options, RankBoard& board, Logger logger);
  ~LearnerLink();

  /// The next part of a step; nothing by the deadline. @throws TransportError when rank 0's hub is gone or has ended.
  std::optional<StepShard> next(Deadline deadline);

 private:
  void converse();

  Options options_;
  RankBoard& board_;
  Logger logger_;
  BoundedQueue<StepShard> shards_;
  std::atomic<bool> leaving_ = false;
  std::string ended_;  // why, written before shards_ closes
  std::thread thread_;
};

}  // namespace troupe
