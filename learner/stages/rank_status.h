#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "common/collective/communicator.h"
#include "common/messages/control.h"

namespace troupe {

/// What this learner rank is doing, set by its training thread and read by the thread that tells the others. Any thread.
class RankStatus {
 public:
  RankStatus(std::uint32_t rank, const Communicator& communicator) : rank_(rank), communicator_(communicator) {}

  void set(std::int64_t step, std::string phase) {
    const std::lock_guard lock(mutex_);
    step_ = step;
    phase_ = std::move(phase);
  }

  LearnerBeat beat(std::uint64_t pid) const {
    const std::lock_guard lock(mutex_);
    return {rank_, pid, step_, phase_, communicator_.progress().sequence};
  }

 private:
  const std::uint32_t rank_;
  const Communicator& communicator_;
  mutable std::mutex mutex_;
  std::int64_t step_ = 0;
  std::string phase_ = "start";
};

}  // namespace troupe
