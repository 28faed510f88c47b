#include "learner/schedule.h"

#include <doctest/doctest.h>

#include "common/base/error.h"

using namespace troupe;

namespace {

OptimizerConfig config_of(const char* schedule, std::int64_t warmup, double lowest) {
  OptimizerConfig config;
  config.lr = 8.0;
  config.schedule = schedule;
  config.warmup_steps = warmup;
  config.min_lr_ratio = lowest;
  return config;
}

}  // namespace

TEST_SUITE("learner/schedule") {
  TEST_CASE("warm-up rises in equal parts and its last step has the full rate, whatever follows") {
    for (const char* schedule : {"constant", "linear", "cosine"}) {
      const OptimizerConfig config = config_of(schedule, 4, 0.0);

      CHECK(learning_rate(config, 1, 12) == 2.0);
      CHECK(learning_rate(config, 2, 12) == 4.0);
      CHECK(learning_rate(config, 4, 12) == 8.0);
      CHECK(learning_rate(config, 5, 12) == 8.0);
    }
  }

  TEST_CASE("constant stays, linear falls by equal parts, cosine is half-way down in the middle") {
    CHECK(learning_rate(config_of("constant", 4, 0.0), 12, 12) == 8.0);
    CHECK(learning_rate(config_of("linear", 4, 0.0), 6, 12) == 7.0);
    CHECK(learning_rate(config_of("linear", 4, 0.0), 12, 12) == 1.0);
    CHECK(learning_rate(config_of("linear", 0, 0.0), 1, 4) == 8.0);
    CHECK(learning_rate(config_of("linear", 0, 0.0), 3, 4) == 4.0);
    CHECK(learning_rate(config_of("cosine", 4, 0.0), 9, 12) == doctest::Approx(4.0).epsilon(1e-12));
    CHECK(learning_rate(config_of("cosine", 0, 0.0), 2, 3) == doctest::Approx(6.0).epsilon(1e-12));  // cos(pi/3) = 1/2
  }

  TEST_CASE("the lowest rate is min_lr_ratio of the full one, and steps beyond the last keep it") {
    CHECK(learning_rate(config_of("linear", 0, 0.25), 3, 4) == 5.0);
    CHECK(learning_rate(config_of("linear", 0, 0.25), 5, 4) == 2.0);
    CHECK(learning_rate(config_of("linear", 0, 0.25), 99, 4) == 2.0);
    CHECK(learning_rate(config_of("cosine", 2, 0.25), 99, 4) == 2.0);
  }

  TEST_CASE("a warm-up as long as the run does not divide by zero") {
    CHECK(learning_rate(config_of("linear", 4, 0.0), 4, 4) == 8.0);
    CHECK(learning_rate(config_of("linear", 4, 0.0), 5, 4) == 8.0);
  }

  TEST_CASE("an unknown schedule is named") {
    CHECK_THROWS_WITH_AS(learning_rate(config_of("exponential", 0, 0.0), 1, 4),
                         "optimizer.schedule: expected constant, linear or cosine, found \"exponential\"", ConfigError);
  }
}
