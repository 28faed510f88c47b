// One rank of the tests under mpirun; mpi_scenario.sh starts it. `mpi_ranks MODE`, where MODE says what this rank does.

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "common/base/error.h"
#include "common/collective/mpi_environment.h"
#include "tests/common/collective/verb_cases.h"

using namespace troupe;

namespace {

constexpr double kStartupS = 5;
constexpr double kDeadlineS = 2;

Communicator* current_ranks = nullptr;  // doctest's cases take no arguments

std::map<std::string, std::string> environment_of_process() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const auto equals = text.find('=');
    if (equals != std::string::npos) variables[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return variables;
}

[[noreturn]] void wait_for_the_end() {
  for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
}

/// Meets the others, then does what `mode` says of this rank while they go on to a second collective.
void misbehave(Communicator& ranks, const std::string& mode) {
  std::vector<float> data(90'000, 1.0F);
  ranks.all_reduce_sum(std::span(data), "warm-up");
  const bool last = ranks.rank() == ranks.size() - 1;
  if (last && mode == "silent_rank") wait_for_the_end();
  if (last && mode == "killed_rank") ::kill(::getpid(), SIGKILL);
  if (last && mode == "other_operation") {
    ranks.barrier();
  } else {
    std::vector<float> slice(data.size() / static_cast<std::size_t>(ranks.size()));
    ranks.reduce_scatter_sum(data, slice, "gradient");
  }
}

int run_cases(Communicator& ranks) {
  current_ranks = &ranks;
  doctest::Context context;
  context.setOption("no-version", true);
  context.setOption("no-colors", true);
  return context.run();
}

}  // namespace

TEST_CASE("every verb agrees with a naive loop, bit for bit, under mpirun") {
  verb_cases::check_every_verb(*current_ranks);
}

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const LaunchCounts counts = read_launch_counts(environment_of_process());
  if (mode == "killed_before_init" && counts.world_rank == 1) ::kill(::getpid(), SIGKILL);
  MpiEnvironment mpi(counts, kStartupS);
  if (mode == "actor_long" || mode == "actor_short") {
    mpi.started();
    std::this_thread::sleep_for(std::chrono::milliseconds(mode == "actor_long" ? 1500 : 10));
    std::cout << "actor " << counts.app_rank() << " of " << counts.app_size << " leaves\n";
    MpiEnvironment::leave_alone(0);
  }
  try {
    const auto ranks = mpi.learners(kDeadlineS);
    std::cout << "learner " << ranks->rank() << " of " << ranks->size() << "\n";
    if (mode == "exit_code") {
      ranks->barrier();
      if (ranks->rank() == 1) MpiEnvironment::leave_alone(75);
      wait_for_the_end();
    }
    if (mode == "verbs") {
      if (run_cases(*ranks) != 0) MpiEnvironment::leave_alone(1);
    } else if (mode == "clean_end") {
      ranks->close();
    } else {
      misbehave(*ranks, mode);
      ranks->close();
    }
    std::cout << "learner leaves\n";
    mpi.leave_together(kDeadlineS);
  } catch (const DeviceError& error) {
    std::cerr << error.what() << std::endl;
    MpiEnvironment::leave_alone(75);
  }
}
