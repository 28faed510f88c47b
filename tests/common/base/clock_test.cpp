#include "common/base/clock.h"

#include <ctime>
#include <regex>
#include <thread>

#include <doctest/doctest.h>

using namespace troupe;

TEST_SUITE("base/clock") {
  TEST_CASE("the wall clock is written as UTC to the second") {
    const std::string now = utc_now();
    const double unix_s = unix_time_s();

    REQUIRE(std::regex_match(now, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")));
    std::tm parts{};
    REQUIRE(::strptime(now.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts) != nullptr);
    const double parsed = static_cast<double>(::timegm(&parts));
    CHECK(unix_s - parsed >= 0.0);
    CHECK(unix_s - parsed < 5.0);
  }

  TEST_CASE("a time that was written down reads as UTC with milliseconds") {
    CHECK(utc_text(1795357800.25) == "2026-11-22T14:30:00.250Z");
    CHECK(utc_text(1795357799.9996) == "2026-11-22T14:30:00.000Z");
  }

  TEST_CASE("a manual clock moves only by hand") {
    ManualClock clock;
    CHECK(clock.now_ms() == 0);
    clock.advance_ms(25);
    CHECK(clock.now_ms() == 25);
  }

  TEST_CASE("a deadline counts down to zero and stays there") {
    const Deadline far = Deadline::after_s(60);
    const Deadline past = Deadline::after_ms(-5);

    CHECK(far.remaining_ms() > 59000);
    CHECK(far.remaining_ms() <= 60000);
    CHECK_FALSE(far.expired());
    CHECK(past.remaining_ms() == 0);
    CHECK(past.expired());
  }
}
