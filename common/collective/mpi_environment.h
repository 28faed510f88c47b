#pragma once

#include <memory>

#include "common/collective/communicator.h"
#include "common/collective/launch_counts.h"
#include "common/collective/watchdog.h"

namespace troupe {

/// MPI in this process, from MPI_Init_thread on. Every rank that mpirun starts makes one, whatever its role. Make it
/// first thing in main and once; leave the process through `leave_together` (learners at the end of a run) or
/// `leave_alone` (everybody else, and learners after an error). After the constructor nothing is collective over the
/// world.
class MpiEnvironment {
 public:
  /// Calls MPI_Init_thread. Where that, or `learners()`, has not ended `startup_s` after this call, the process leaves
  /// with 75 and says in which phase it was. @throws DeviceError where MPI is not what `counts` says.
  MpiEnvironment(const LaunchCounts& counts, double startup_s);
  /// Leaves MPI as it is: a finalisation would wait for the peers.
  ~MpiEnvironment();

  /// Start-up is over: the watchdog goes. `learners()` does it too.
  void started();

  /// The communicator of this process's block of ranks. Collective over the block; call it once.
  std::unique_ptr<Communicator> learners(double deadline_s);

  /// Ends the process with 0 after the ranks of the block have closed their communicator. Alone in the job they
  /// finalise MPI, without which plain mpirun takes the end of a rank for a failure (1, and it kills the rest). Beside
  /// actors and rewarders they must not: MPI_Finalize waits for every rank of the job that still lives, and hangs for
  /// ever where one of them then leaves by _exit (seen with Open MPI 4.1.4, --enable-recovery); mpirun's code is 0
  /// there anyway. Standard output is flushed. Should finalising outlast `deadline_s` the code is 75.
  [[noreturn]] void leave_together(double deadline_s);

  /// Ends the process at once with `exit_code`, waiting for nobody.
  [[noreturn]] static void leave_alone(int exit_code);

 private:
  const LaunchCounts counts_;
  std::unique_ptr<Watchdog> watchdog_;  // until start-up is over
};

}  // namespace troupe
