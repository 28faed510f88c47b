#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "common/config/config.h"

using namespace troupe;

TEST_SUITE("config/stop_strings") {
  TEST_CASE("the texts of sampling.stop") {
    CHECK(stop_strings({}).empty());
    SamplingConfig sampling;
    sampling.stop = R"(["</answer>", "\n\n"])";
    CHECK(stop_strings(sampling) == std::vector<std::string>{"</answer>", "\n\n"});
  }
}
