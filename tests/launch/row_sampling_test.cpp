#include "launch/row_sampling.h"

#include <doctest/doctest.h>

#include "common/base/error.h"

using namespace troupe;

TEST_SUITE("launch/row_sampling") {
  TEST_CASE("what a row has of its own goes before the options, the rest is theirs") {
    SamplingParams options;
    options.temperature = 0.5;
    options.max_tokens = 9;
    options.stop_texts = {"a"};
    options.stop_ids = {7};
    CHECK(row_sampling({nlohmann::json::object(), "f:1"}, options) == options);

    const auto json = nlohmann::json::parse(
        R"({"temperature": 2, "top_p": 0.5, "top_k": 3, "min_p": 0.25, "max_tokens": 4, "min_tokens": 2, "stop": ["b", "c"], "seed": 18446744073709551615})");
    const SamplingParams own = row_sampling({json, "f:1"}, options);
    CHECK(own == SamplingParams{2.0, 0.5, 3, 0.25, 4, 2, {7}, {"b", "c"}});
    CHECK(row_seed({json, "f:1"}) == 18446744073709551615U);
    CHECK(row_sampling({{{"stop", "b"}, {"top_k", nullptr}}, "f:1"}, options).stop_texts == std::vector<std::string>{"b"});
    CHECK_FALSE(row_seed({{{"seed", nullptr}}, "f:1"}));
  }

  TEST_CASE("a value of another kind is refused by row and key") {
    const auto refused = [](const char* json, const char* message) {
      const Row row = {nlohmann::json::parse(json), "f:3"};
      CHECK_THROWS_WITH_AS((void)(row_sampling(row, {}), row_seed(row)), message, ConfigError);
    };
    refused(R"({"temperature": "1"})", "f:3: `temperature`: expected a number, found \"1\"");
    refused(R"({"top_k": 1.5})", "f:3: `top_k`: expected a whole number from 0 to 2147483647, found 1.5");
    refused(R"({"max_tokens": -1})", "f:3: `max_tokens`: expected a whole number from 0 to 2147483647, found -1");
    refused(R"({"min_tokens": 2147483648})", "f:3: `min_tokens`: expected a whole number from 0 to 2147483647, found 2147483648");
    refused(R"({"stop": ["a", 1]})", "f:3: `stop`: expected a text or a list of texts, found [\"a\",1]");
    refused(R"({"seed": -1})", "f:3: `seed`: expected a whole number from 0 on, found -1");
  }
}
