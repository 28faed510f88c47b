#include "common/model/compute_device.h"

#include <string>

#include <doctest/doctest.h>

#include "common/base/error.h"

using namespace troupe;

TEST_SUITE("model/compute_device") {
  TEST_CASE("fp32 is computed on the CPU, and on a GPU it is refused by the key's name") {
    CHECK(compute_device("cpu", "learners.device", at::kFloat).is_cpu());
    CHECK(compute_device("cpu", "learners.device", at::kBFloat16).is_cpu());
    CHECK(compute_device("auto", "learners.device", at::kFloat).is_cpu());
    std::string message;
    try {
      compute_device("cuda", "learners.device", at::kFloat);
    } catch (const ConfigError& error) {
      message = error.what();
    }
    CHECK(message.find("learners.device = cuda") == 0);
  }

  TEST_CASE("a device of another name is refused by that name") {
    CHECK_THROWS_WITH_AS(compute_device("tpu", "--device", at::kFloat), "--device = tpu: expected auto, cpu or cuda", ConfigError);
  }
}
