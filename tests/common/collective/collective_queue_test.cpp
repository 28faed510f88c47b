#include "common/collective/collective_queue.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "common/base/error.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/common/collective/verb_cases.h"

using namespace troupe;

TEST_SUITE("common/collective/collective_queue") {
  TEST_CASE("every verb through a queue agrees with a naive loop, bit for bit") {
    for (const int size : {1, 3}) {
      const auto errors = run_ranks(size, 30, [](Communicator& ranks) {
        CollectiveQueue queue(ranks);
        verb_cases::check_every_verb(queue);
      });
      for (const std::string& error : errors) CHECK(error == "");
    }
  }

  TEST_CASE("what is started runs beside its caller, in order, and before what is called later") {
    const auto errors = run_ranks(2, 30, [](Communicator& ranks) {
      std::promise<void> gate;
      std::string order;
      CollectiveQueue queue(ranks);
      std::vector<float> data = {static_cast<float>(ranks.rank())};
      const auto first = queue.start([&] {
        gate.get_future().wait();
        order += "a";
      });
      const auto second = queue.start([&] {
        queue.all_reduce_sum(std::span(data), "data");  // on the queue's own thread
        order += "b";
      });
      CHECK(order.empty());
      gate.set_value();
      queue.barrier();
      CHECK(order == "ab");
      CHECK(data[0] == 1);
      first.get();
      second.get();
    });
    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("what its callers wait for counts, and what runs beside them does not") {
    constexpr double kLate_s = 0.2;
    std::atomic<int> come = 0;
    const auto errors = run_ranks(2, 30, [&](Communicator& ranks) {
      CollectiveQueue queue(ranks);
      const auto meet = [&](int time) {
        ++come;
        while (come < 2 * time) std::this_thread::yield();
        if (ranks.rank() == 1) std::this_thread::sleep_for(std::chrono::duration<double>(kLate_s));
      };
      meet(1);
      queue.barrier();
      const double first_s = queue.waited_s();
      meet(2);
      std::atomic<bool> over = false;
      const auto beside = queue.start([&] {
        queue.barrier();
        over = true;
      });
      while (!over) std::this_thread::yield();
      beside.get();
      const double second_s = queue.waited_s() - first_s;
      meet(3);
      const auto waited_for = queue.start([&] { queue.barrier(); });
      waited_for.get();
      const double third_s = queue.waited_s() - first_s - second_s;
      if (ranks.rank() == 1) return;
      CHECK(first_s > kLate_s / 2);
      CHECK(second_s < kLate_s / 2);
      CHECK(third_s > kLate_s / 2);
    });
    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("what started work throws comes out of its result, and the next call says that the communicator failed") {
    const auto errors = run_ranks(2, 0.2, [](Communicator& ranks) {
      CollectiveQueue queue(ranks);
      if (ranks.rank() == 1) return;  // leaves
      const auto done = queue.start([&] { queue.barrier(); });
      CHECK_THROWS_WITH_AS(done.get(), doctest::Contains("nothing from rank 1"), DeviceError);
      CHECK_THROWS_WITH_AS(queue.barrier(), doctest::Contains("failed before"), DeviceError);
    });
    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("a communicator by itself runs what is started at once") {
    const auto errors = run_ranks(1, 30, [](Communicator& ranks) {
      bool ran = false;
      const auto done = ranks.start([&] { ran = true; });
      CHECK(ran);
      done.get();
      CHECK_THROWS_AS(ranks.start([] { throw DeviceError("x"); }).get(), DeviceError);
    });
    CHECK(errors[0] == "");
  }
}
