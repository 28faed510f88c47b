#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "common/config/config.h"

using namespace troupe;

TEST_SUITE("config/exactness_obstacles") {
  TEST_CASE("each setting that makes exactness impossible is named with its value") {
    const std::pair<std::string, std::string> cases[] = {
        {"--sampling.top_p=0.9", "sampling.top_p = 0.9"},
        {"--sampling.top_k=50", "sampling.top_k = 50"},
        {"--sampling.min_p=0.1", "sampling.min_p = 0.1"},
        {"--sampling.min_tokens=3", "sampling.min_tokens = 3"},
        {"--run.max_lag=2", "run.max_lag = 2"},
        {"--actors.device=cpu", "actors.device = cpu"},
        {"--actors.tensor_parallel=2", "learners.tensor_parallel = 1 beside actors.tensor_parallel = 2:"},
        {"--actors.on_new_weights=keep", "actors.on_new_weights = keep"}};

    CHECK(exactness_obstacles(Config()).empty());
    std::vector<std::string> all;
    for (const auto& [override_text, expected] : cases) {
      const std::string name = expected;
      CAPTURE(name);
      const auto obstacles = exactness_obstacles(parse_config("", "a.cfg", {override_text}));
      REQUIRE(obstacles.size() == 1);
      CHECK(obstacles[0].starts_with(name + " "));
      all.push_back(override_text);
    }
    CHECK(exactness_obstacles(parse_config("", "a.cfg", all)).size() == 8);
  }

  TEST_CASE("a model that ranks hold together is exact where as many do on either side") {
    const auto obstacles = [](const std::string& learners, const std::string& actors) {
      return exactness_obstacles(parse_config("", "a.cfg", {"--learners.tensor_parallel=" + learners, "--actors.tensor_parallel=" + actors}));
    };
    CHECK(obstacles("2", "2").empty());
    CHECK(obstacles("2", "1").size() == 1);
    CHECK(obstacles("2", "4").size() == 1);
  }
}
