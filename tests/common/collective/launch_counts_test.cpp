#include "common/collective/launch_counts.h"

#include <doctest/doctest.h>

#include "common/base/error.h"

using namespace troupe;

namespace {

/// What Open MPI 4.1.4 exports in `mpirun -np 2 A : -np 2 B : -np 1 C`, OMPI_FIRST_RANKS as it stands there.
std::map<std::string, std::string> mpirun_of_three(int rank) {
  return {{"OMPI_COMM_WORLD_RANK", std::to_string(rank)},
          {"OMPI_COMM_WORLD_SIZE", "5"},
          {"OMPI_COMM_WORLD_LOCAL_RANK", std::to_string(rank / 2)},
          {"OMPI_APP_CTX_NUM_PROCS", "2 2 1"},
          {"OMPI_FIRST_RANKS", "0 0 0"},
          {"OMPI_NUM_APP_CTX", "3"}};
}

std::string error_of(const std::map<std::string, std::string>& environment) {
  try {
    read_launch_counts(environment);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_SUITE("common/collective/launch_counts") {
  TEST_CASE("each rank of a job of three programs finds its block") {
    const int index[] = {0, 0, 1, 1, 2};
    const int first[] = {0, 0, 2, 2, 4};
    const int size[] = {2, 2, 2, 2, 1};
    const int place[] = {0, 1, 0, 1, 0};
    for (int rank = 0; rank < 5; ++rank) {
      CAPTURE(rank);

      const LaunchCounts counts = read_launch_counts(mpirun_of_three(rank));

      CHECK(counts.launcher == LaunchCounts::Launcher::kMpirun);
      CHECK(counts.must_initialise_mpi());
      CHECK(counts.world_rank == rank);
      CHECK(counts.world_size == 5);
      CHECK(counts.local_rank == rank / 2);
      CHECK(counts.app_count == 3);
      CHECK(counts.app_index == index[rank]);
      CHECK(counts.app_first_rank == first[rank]);
      CHECK(counts.app_size == size[rank]);
      CHECK(counts.app_rank() == place[rank]);
    }
  }

  TEST_CASE("a step of srun counts, a batch script's own variables do not") {
    const LaunchCounts step =
        read_launch_counts({{"SLURM_PROCID", "3"}, {"SLURM_NTASKS", "8"}, {"SLURM_STEP_NUM_TASKS", "4"}});
    const LaunchCounts batch_script = read_launch_counts({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}});

    CHECK(step.launcher == LaunchCounts::Launcher::kSrun);
    CHECK(!step.must_initialise_mpi());
    CHECK(step.local_rank == -1);
    CHECK(step.world_rank == 3);
    CHECK(step.world_size == 4);
    CHECK(step.app_rank() == 3);
    CHECK(step.app_size == 4);
    CHECK(batch_script == LaunchCounts{});
  }

  TEST_CASE("mpirun inside a Slurm allocation beats Slurm's variables") {
    auto environment = mpirun_of_three(4);
    environment["SLURM_PROCID"] = "0";
    environment["SLURM_STEP_NUM_TASKS"] = "1";

    CHECK(read_launch_counts(environment).world_rank == 4);
  }

  TEST_CASE("a process started by hand is alone") {
    const LaunchCounts counts = read_launch_counts({{"HOME", "/root"}});

    CHECK(counts.launcher == LaunchCounts::Launcher::kNone);
    CHECK(counts.world_size == 1);
    CHECK(counts.app_rank() == 0);
  }

  TEST_CASE("a variable that is no number, missing, or contradicts another is named") {
    auto letters = mpirun_of_three(0);
    letters["OMPI_COMM_WORLD_SIZE"] = "five";
    auto missing = mpirun_of_three(0);
    missing.erase("OMPI_COMM_WORLD_RANK");
    auto outside = mpirun_of_three(5);
    auto sum = mpirun_of_three(0);
    sum["OMPI_APP_CTX_NUM_PROCS"] = "2 2 2";

    CHECK(error_of(letters) ==
          "environment variable OMPI_COMM_WORLD_SIZE: expected a whole number from 1, found \"five\"");
    CHECK(error_of(missing) == "environment variable OMPI_COMM_WORLD_RANK is missing beside its companions");
    CHECK(error_of(outside) == "environment variable OMPI_COMM_WORLD_RANK: rank 5 in a job of 5");
    CHECK(error_of(sum) ==
          "environment variable OMPI_APP_CTX_NUM_PROCS: \"2 2 2\" adds up to 6 ranks, but the job has 5");
  }
}
