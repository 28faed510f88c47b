#pragma once

#include <map>
#include <string>

namespace troupe {

/// Who started this process, and its place among those started with it. In a job of several programs (`mpirun -np 2 A :
/// -np 3 B`) each program's ranks are a block of neighbours; `app_*` is this process's block.
struct LaunchCounts {
  enum class Launcher { kNone, kMpirun, kSrun };
  Launcher launcher = Launcher::kNone;
  int world_rank = 0;
  int world_size = 1;
  int app_index = 0;
  int app_count = 1;
  int app_first_rank = 0;
  int app_size = 1;
  int local_rank = -1;  // among all of the job on this host, as mpirun says; -1 otherwise
  bool operator==(const LaunchCounts&) const = default;

  /// The place within the block: a learner's rank among the learners, an actor's index.
  int app_rank() const { return world_rank - app_first_rank; }
  /// mpirun's ranks must all call MPI_Init, or the others hang in it.
  bool must_initialise_mpi() const { return launcher == Launcher::kMpirun; }
};

/// Reads what Open MPI's mpirun exports (OMPI_COMM_WORLD_RANK, _LOCAL_RANK and _SIZE, OMPI_APP_CTX_NUM_PROCS; OMPI_FIRST_RANKS is
/// not used: Open MPI 4.1.4 says 0 for every block), else what srun does (SLURM_PROCID, SLURM_STEP_NUM_TASKS;
/// SLURM_NTASKS alone also stands in a batch script, where nothing was started in parallel yet). Neither: the defaults.
/// @throws ConfigError naming the variable and its value where it is no number or contradicts another.
LaunchCounts read_launch_counts(const std::map<std::string, std::string>& environment);

}  // namespace troupe
