#include "common/collective/thread_communicator.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "common/base/error.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/common/collective/verb_cases.h"

using namespace troupe;

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_SUITE("common/collective/thread_communicator") {
  TEST_CASE("every verb agrees with a naive loop, bit for bit, on 1 to 4 ranks") {
    for (int size = 1; size <= 4; ++size) {
      const auto errors = run_ranks(size, 30, verb_cases::check_every_verb);

      for (const std::string& error : errors) CHECK(error == "");
    }
  }

  TEST_CASE("a rank that never comes ends the others' wait at the deadline, by name") {
    const auto start = std::chrono::steady_clock::now();
    std::atomic<bool> others_done{false};
    std::atomic<int> ended{0};

    const auto errors = run_ranks(3, 0.3, [&](Communicator& ranks) {
      std::vector<float> data(4);
      ranks.all_reduce_sum(std::span(data), "first");
      if (ranks.rank() == 2) {
        while (!others_done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return;
      }
      try {
        ranks.all_reduce_sum(std::span(data), "gradient");
      } catch (...) {
        if (++ended == 2) others_done = true;
        // Stays until the other has met its deadline too: this case is about silence, not about leaving.
        while (!others_done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        throw;
      }
    });

    CHECK(seconds_since(start) < 1.3);
    CHECK(seconds_since(start) >= 0.3);
    CHECK(errors[0].starts_with("learner rank 0 of 3: all_reduce_sum of gradient, sequence 2: nothing from rank 2 within 0."));
    CHECK(errors[1].starts_with("learner rank 1 of 3: all_reduce_sum of gradient, sequence 2: nothing from rank 2 within 0."));
    CHECK(errors[2] == "");
  }

  TEST_CASE("a rank that has left ends the others' wait at once") {
    const auto start = std::chrono::steady_clock::now();

    const auto errors = run_ranks(2, 60, [&](Communicator& ranks) {
      if (ranks.rank() == 0) ranks.barrier();
    });

    CHECK(seconds_since(start) < 5);
    CHECK(errors[0] ==
          "learner rank 0 of 2: barrier, sequence 1: nothing from rank 1 and nothing will come: it has left");
  }

  TEST_CASE("ranks in different operations are told so instead of mixing their bytes") {
    const auto errors = run_ranks(2, 5, [&](Communicator& ranks) {
      std::vector<float> data(4);
      if (ranks.rank() == 0) {
        ranks.all_reduce_sum(std::span(data), "loss");
      } else {
        ranks.broadcast(std::as_writable_bytes(std::span(data)), 1, "weights");
      }
    });

    CHECK(contains(errors[0] + errors[1], "does something else: sequence 1, "));
  }

  TEST_CASE("ranks with different sizes are told so") {
    const auto errors = run_ranks(2, 5, [&](Communicator& ranks) {
      std::vector<float> data(ranks.rank() == 0 ? 4 : 5);
      ranks.all_reduce_sum(std::span(data), "loss");
    });

    CHECK(contains(errors[0] + errors[1], "16 bytes"));
    CHECK(contains(errors[0] + errors[1], "20 bytes"));
  }

  TEST_CASE("nothing may follow an error or close") {
    const auto after_error = run_ranks(2, 0.1, [&](Communicator& ranks) {
      if (ranks.rank() == 1) return;
      CHECK_THROWS_AS(ranks.barrier(), DeviceError);
      ranks.barrier();
    });
    const auto after_close = run_ranks(1, 1, [&](Communicator& ranks) {
      ranks.close();
      ranks.barrier();
    });

    CHECK(contains(after_error[0], "sequence 2: the communicator was closed, or failed before"));
    CHECK(contains(after_close[0], "sequence 2: the communicator was closed, or failed before"));
  }

  TEST_CASE("progress tells another thread the operation and its number") {
    const ThreadWorld world(2, 5);
    const auto zero = world.communicator(0);
    const auto one = world.communicator(1);
    zero->progress();
    std::thread waiting([&] { zero->barrier(); });
    while (zero->progress().sequence == 0) std::this_thread::yield();

    CHECK(zero->progress().sequence == 1);
    CHECK(zero->progress().operation == "barrier");

    one->barrier();
    waiting.join();
  }
}
