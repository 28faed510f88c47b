#include "common/collective/mpi_environment.h"

#include <mpi.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/collective/mpi_communicator.h"

namespace troupe {

MpiEnvironment::MpiEnvironment(const LaunchCounts& counts, double startup_s)
    : counts_(counts),
      watchdog_(std::make_unique<Watchdog>(
          "start-up of rank " + std::to_string(counts.world_rank) + " of " + std::to_string(counts.world_size),
          startup_s)) {
  watchdog_->enter("MPI_Init (a rank of the job died before it, or never called it)");
  int provided = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
  if (provided < MPI_THREAD_SERIALIZED) throw DeviceError("MPI offers no MPI_THREAD_SERIALIZED");
  int rank = 0;
  int size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (rank != counts.world_rank || size != counts.world_size) {
    throw DeviceError("the launcher's environment says rank " + std::to_string(counts.world_rank) + " of " +
                      std::to_string(counts.world_size) + ", MPI says " + std::to_string(rank) + " of " +
                      std::to_string(size) + "; under srun give --mpi=pmix");
  }
  watchdog_->enter("set-up after MPI_Init");
}

MpiEnvironment::~MpiEnvironment() = default;

void MpiEnvironment::started() { watchdog_.reset(); }

std::unique_ptr<Communicator> MpiEnvironment::learners(double deadline_s) {
  if (watchdog_) watchdog_->enter("MPI_Comm_create_group over the learners (one of them is missing)");
  std::vector<int> ranks(static_cast<std::size_t>(counts_.app_size));
  std::iota(ranks.begin(), ranks.end(), counts_.app_first_rank);
  auto communicator = std::make_unique<MpiCommunicator>(ranks, deadline_s);
  started();
  return communicator;
}

void MpiEnvironment::leave_together(double deadline_s) {
  if (counts_.app_count == 1) {
    const Watchdog watchdog("MPI_Finalize of rank " + std::to_string(counts_.world_rank), deadline_s);
    MPI_Finalize();
  }
  leave_alone(0);
}

void MpiEnvironment::leave_alone(int exit_code) {
  std::cout.flush();
  std::fflush(nullptr);
  ::_exit(exit_code);
}

}  // namespace troupe
