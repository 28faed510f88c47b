#include "learner/objective/token_weights.h"

#include <doctest/doctest.h>

#include "common/base/error.h"

namespace troupe {
namespace {

using doctest::Approx;

LossConfig normalised(const char* kind) {
  LossConfig config;
  config.normalise = kind;
  return config;
}

Trajectory trajectory(std::vector<std::int32_t> ids, std::int64_t prompt_tokens, double advantage) {
  Trajectory result;
  result.ids = std::move(ids);
  result.prompt_tokens = prompt_tokens;
  result.advantage = advantage;
  for (std::int64_t t = 0; t < result.completion_tokens(); ++t) {
    result.sampler_logprobs.push_back(-0.5F * static_cast<float>(t + 1));
    result.versions.push_back(0);
  }
  return result;
}

}  // namespace

TEST_SUITE("objective/token_weights") {
  TEST_CASE("each normalisation weighs a token as published") {
    // A completion of 5 tokens among 4 completions with 40 tokens, at most 10 each.
    CHECK(token_weight(normalised("sequence_mean"), 5, 4, 40, 10) == Approx(1.0 / 20));
    CHECK(token_weight(normalised("token_mean"), 5, 4, 40, 10) == Approx(1.0 / 40));
    CHECK(token_weight(normalised("dr_grpo"), 5, 4, 40, 10) == Approx(1.0 / 40));
    CHECK(token_weight(normalised("dr_grpo"), 5, 4, 39, 8) == Approx(1.0 / 32));
    CHECK_THROWS_WITH_AS(token_weight(normalised("mean"), 5, 4, 40, 10), doctest::Contains("\"mean\""), ConfigError);
  }

  TEST_CASE("targets lay the completions of a micro-batch one after the other, with the update's counts") {
    const std::vector<Trajectory> micro_batch = {trajectory({7, 8, 1, 2, 3}, 2, 0.5), trajectory({9, 4}, 1, -2)};
    UpdateShard update;
    update.global_sequences = 5;
    update.global_tokens = 50;

    const TokenTargets targets = token_targets(micro_batch, update, normalised("sequence_mean"), 16);

    CHECK(targets.offsets == std::vector<std::int64_t>{0, 3, 4});
    CHECK(targets.sampler_logp == std::vector<float>{-0.5F, -1.0F, -1.5F, -0.5F});
    CHECK(targets.advantage == std::vector<double>{0.5, 0.5, 0.5, -2});
    REQUIRE(targets.weight.size() == 4);
    CHECK(targets.weight[2] == Approx(1.0 / 15));
    CHECK(targets.weight[3] == Approx(1.0 / 5));
  }

  TEST_CASE("a trajectory without completion tokens or log-probabilities is a bug") {
    UpdateShard update;
    const std::vector<Trajectory> empty = {trajectory({1, 2}, 2, 1)};
    std::vector<Trajectory> short_of_one = {trajectory({1, 2, 3}, 1, 1)};
    short_of_one[0].sampler_logprobs.pop_back();

    CHECK_THROWS_AS(token_targets(empty, update, LossConfig{}, 8), InternalError);
    CHECK_THROWS_AS(token_targets(short_of_one, update, LossConfig{}, 8), InternalError);
  }
}

}  // namespace troupe
