#include "common/collective/watchdog.h"

#include <doctest/doctest.h>

#include <chrono>
#include <future>

using namespace troupe;

TEST_SUITE("common/collective/watchdog") {
  TEST_CASE("work that outlasts its deadline is named with the phase it is in") {
    std::promise<std::string> said;
    Watchdog watchdog("start-up of rank 1", 0.1, [&](const std::string& message) { said.set_value(message); });
    watchdog.enter("reading");
    watchdog.enter("MPI_Init");

    auto message = said.get_future();

    CHECK(message.wait_for(std::chrono::seconds(5)) == std::future_status::ready);
    CHECK(message.get() == "start-up of rank 1 has not ended within 0.1 s; it is in: MPI_Init");
  }

  TEST_CASE("work that ends in time is left alone") {
    bool fired = false;
    {
      const Watchdog watchdog("work", 60, [&](const std::string&) { fired = true; });
    }

    CHECK(!fired);
  }
}
