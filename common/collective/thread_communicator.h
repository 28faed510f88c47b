#pragma once

#include <memory>

#include "common/collective/communicator.h"

namespace troupe {

/// Ranks as threads of one process: for tests, for one learner without MPI, and for replaying a run's learner ranks in
/// one process. A rank whose communicator is destroyed before close() has left: the others' next wait for it fails at
/// once.
class ThreadWorld {
 public:
  explicit ThreadWorld(int size, double deadline_s = 120);

  /// The communicator of `rank`; ask once for each rank. It may outlive the world.
  std::unique_ptr<Communicator> communicator(int rank) const;

  struct State;

 private:
  std::shared_ptr<State> state_;  // shared by the ranks' communicators
};

}  // namespace troupe
