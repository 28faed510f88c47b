// How many programs a verifier grades a second on one core: a right one, with three assertions, in Python.
//   code_bench [PROGRAMS]
// Prints one JSON line. The bound is the rate of bare starts of the same interpreter, without sandbox and tests.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "rewarders/reward.h"
#include "tests/bench/bench_line.h"

using namespace troupe;

namespace {

constexpr int kRounds = 5;

/// Seconds that `work` takes, of one core.
template <class Work>
double seconds_of(Work work) {
  const std::int64_t start_ms = SteadyClock().now_ms();
  work();
  return static_cast<double>(SteadyClock().now_ms() - start_ms) / 1000;
}

void start_interpreter() {
  const pid_t pid = fork();
  if (pid == 0) {
    execl("/usr/bin/python3", "python3", "-I", "-c", "pass", nullptr);
    _exit(127);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  if (status != 0) throw TransportError("/usr/bin/python3 cannot be started");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int programs = argc > 1 ? std::atoi(argv[1]) : 50;
    const auto reward = make_reward({"code", "code", 1.0, {}});
    const std::string sandbox = reward->prepare();
    const nlohmann::json row = {{"test_list", {"assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert add(0, 5) == 5"}}};
    const std::string right = "def add(a, b):\n    return a + b\n";
    const std::string wrong = "def add(a, b):\n    return 3\n";
    const auto grade = [&](const std::string& program) { return reward->grade({row, program, 0, FinishReason::kStop}).value; };
    if (grade(right) != 1.0 || grade(wrong) != 0.0) throw InternalError("the grades are wrong");
    std::vector<double> rates;
    std::vector<double> shares;
    for (int round = 0; round < kRounds; ++round) {
      const double graded_s = seconds_of([&] {
        for (int i = 0; i < programs; ++i) grade(right);
      });
      const double bare_s = seconds_of([&] {
        for (int i = 0; i < programs; ++i) start_interpreter();
      });
      rates.push_back(programs / graded_s);
      shares.push_back(bare_s / graded_s);
    }
    std::cout << bench::with_origin({{"bench", "code"},
                                     {"programs_per_s", bench::percentiles(rates)},
                                     {"share_of_bare_starts", bench::percentiles(shares)},
                                     {"programs", programs},
                                     {"sandbox", sandbox}})
                     .dump()
              << "\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "code_bench: " << error.what() << "\n";
    return 1;
  }
}
