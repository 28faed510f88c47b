#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "common/collective/communicator.h"

namespace troupe {

/// The other learner ranks' processes on this host. A rank that was stopped (SIGSTOP) would outlive the job that its silence
/// ends, and keep mpirun waiting. One thread at a time.
class StoppedPeers {
 public:
  /// Learns of the others. Collective.
  void meet(Communicator& communicator);

  /// SIGKILL to those that are stopped; "learner rank N (pid P), which was stopped" of each.
  std::vector<std::string> kill_stopped() const;

 private:
  struct Peer {
    int rank;
    pid_t pid;
  };
  std::vector<Peer> peers_;
};

}  // namespace troupe
