#include "rewarders/code/output_tests.h"

#include <doctest/doctest.h>

namespace troupe {

TEST_SUITE("rewarders/code/output_tests") {
  TEST_CASE("outputs are the same but for white space at the ends of lines and empty lines at the end") {
    CHECK(same_output("1 2\n", "1 2"));
    CHECK(same_output("1 2 \r\n3\n\n\n", "1 2\n3\n"));
    CHECK(same_output("", "\n"));
    CHECK_FALSE(same_output("1  2", "1 2"));
    CHECK_FALSE(same_output("1\n\n2", "1\n2"));
    CHECK_FALSE(same_output(" 1", "1"));
    CHECK_FALSE(same_output("1\n2", "1"));
  }

  TEST_CASE("a number with a fraction may be off by a millionth, a whole one by nothing") {
    CHECK(same_output("0.30000000000000004", "0.3"));
    CHECK(same_output("x 3.1400001 y", "x 3.14 y"));
    CHECK(same_output("2", "2.000"));
    CHECK(same_output("1000000.5", "1000000.0"));
    CHECK(same_output("1e-7", "0.0"));
    CHECK_FALSE(same_output("0.30001", "0.3"));
    CHECK_FALSE(same_output("1000002.5", "1000000.0"));
    CHECK_FALSE(same_output("1000000.0000001", "1000000"));
    CHECK_FALSE(same_output("2.0", "2"));
    CHECK_FALSE(same_output("nan", "0.5"));
    CHECK_FALSE(same_output("inf", "1e400"));
    CHECK_FALSE(same_output("0.5x", "0.5"));
    CHECK_FALSE(same_output("0.5 0.5", "0.5"));
    CHECK_FALSE(same_output("a.b", "a.c"));
  }

  TEST_CASE("all tests of a program share its time, and each begins with nothing of the others") {
    const Sandbox sandbox;
    SandboxLimits limits;
    limits.time_s = 2;
    const std::string slow = "import time\ntime.sleep(0.8)\nprint(1)";
    const std::string stateful = "import os\nprint(len(os.listdir('/tmp')))\nopen('/tmp/x', 'w')";
    const std::vector<OutputTest> three = {{"", "1"}, {"", "1"}, {"", "1"}};

    const Verdict timed = run_output_tests(sandbox, slow, Language::kPython, three, limits, true);
    CHECK(timed.passed == 2);
    CHECK(timed.reason == "time_limit");
    CHECK(run_output_tests(sandbox, stateful, Language::kPython, {{"", "0"}, {"", "0"}}, limits, false).passed == 2);
  }
}

}  // namespace troupe
