#include "learner/objective/gae.h"

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/base/error.h"

namespace troupe {
namespace {

using doctest::Approx;

void check_close(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(found[i] == Approx(expected[i]).epsilon(1e-12));
  }
}

}  // namespace

TEST_SUITE("objective/gae") {
  TEST_CASE("advantages by hand: one step at lambda 0, the whole rest at lambda 1") {
    const std::vector<double> rewards = {0, 1, 4};
    const std::vector<double> values = {2, 3, 5};
    // deltas with gamma 1/2: 0 + 3/2 - 2, 1 + 5/2 - 3, 4 - 5
    check_close(generalised_advantages(rewards, values, 0.5, 0).advantages, {-0.5, 0.5, -1});
    // discounted sums of rewards less the value: 0 + 1/2 + 1 - 2, 1 + 2 - 3, 4 - 5
    const TokenReturns whole = generalised_advantages(rewards, values, 0.5, 1);
    check_close(whole.advantages, {-0.5, 0, -1});
    check_close(whole.returns, {1.5, 3, 4});
    // lambda 1/2: -0.5 + 1/4 (0.5 + 1/4 (-1)), 0.5 - 1/4, -1
    check_close(generalised_advantages(rewards, values, 0.5, 0.5).advantages, {-0.4375, 0.25, -1});
    CHECK_THROWS_AS(generalised_advantages(rewards, std::vector<double>{1.0}, 1, 1), InternalError);
  }

  TEST_CASE("a token's reward is its charge, the last one's the score besides") {
    const std::vector<float> logp = {-1.0F, -2.0F};
    const std::vector<float> ref = {-1.5F, -1.0F};
    check_close(token_rewards(3, logp, ref, "k1", 0.1), {-0.05, 3.1});
    check_close(token_rewards(3, logp, ref, "k2", 0.1), {-0.0125, 2.95});
    check_close(token_rewards(3, logp, {}, "k1", 0.1), {0, 3});
    CHECK_THROWS_AS(token_rewards(3, {}, {}, "k1", 0.1), InternalError);
    CHECK_THROWS_AS(token_rewards(3, logp, std::vector<float>{0.0F}, "k1", 0.1), InternalError);
    CHECK_THROWS_AS(token_rewards(3, logp, ref, "k4", 0.1), ConfigError);
  }

  TEST_CASE("whitening divides by n - 1; fewer than two numbers stay") {
    const Whitening white = whitening(2, 4, 10);  // 1 and 3
    CHECK(white.mean == 2);
    CHECK(white.scale == Approx(1 / std::sqrt(2 + 1e-8)).epsilon(1e-14));
    CHECK(whitening(1, 5, 25).mean == 0);
    CHECK(whitening(1, 5, 25).scale == 1);
    CHECK(whitening(0, 0, 0).scale == 1);
  }

  TEST_CASE("a value that is held teaches nothing where its held error is the larger") {
    const std::vector<double> old_values = {0, 0, 0};
    const std::vector<double> returns = {1, 1, 1};
    const std::vector<double> weights = {0.5, 0.5, 0};
    // 0.5 moved towards the return beyond 0.2: error 0.8, held. -0.5 moved away: its own error of 1.5 counts.
    const ValueLoss held = value_loss(std::vector<double>{0.5, -0.5, 9}, old_values, returns, weights, 0.2);
    CHECK(held.loss == Approx(0.5 * 0.64 / 2 + 0.5 * 2.25 / 2));
    check_close(held.grad_values, {0, -0.75, 0});
    const ValueLoss free = value_loss(std::vector<double>{0.5, -0.5, 9}, old_values, returns, weights, 0);
    CHECK(free.loss == Approx(0.5 * 0.25 / 2 + 0.5 * 2.25 / 2));
    check_close(free.grad_values, {-0.25, -0.75, 0});
    CHECK(free.clipped == 0);
  }

  TEST_CASE("rewards, advantages, whitening and the critic's loss are TRL's, in float64") {
    std::ifstream file(TROUPE_TEST_DATA "/parity/ppo_golden.json");
    const nlohmann::json golden = nlohmann::json::parse(file);
    const auto rows = [&](const char* key) { return golden.at(key).get<std::vector<std::vector<double>>>(); };
    const auto floats = golden.at("logp").get<std::vector<std::vector<float>>>();
    const auto reference = golden.at("ref").get<std::vector<std::vector<float>>>();
    std::vector<double> advantages, returns, old_values, new_values, expected_grad, whitened;
    for (std::size_t i = 0; i < floats.size(); ++i) {
      const auto rewards = token_rewards(golden.at("scores")[i], floats[i], reference[i], "k1", golden.at("kl_coef"));
      check_close(rewards, rows("rewards")[i]);
      const TokenReturns found = generalised_advantages(rewards, rows("values")[i], golden.at("gamma"), golden.at("lambda"));
      check_close(found.advantages, rows("advantages")[i]);
      check_close(found.returns, rows("returns")[i]);
      const auto append = [](std::vector<double>& all, const std::vector<double>& part) { all.insert(all.end(), part.begin(), part.end()); };
      append(advantages, found.advantages);
      append(returns, found.returns);
      append(old_values, rows("values")[i]);
      append(new_values, rows("new_values")[i]);
      append(expected_grad, rows("value_grad")[i]);
      append(whitened, rows("whitened")[i]);
    }
    double sum = 0, squares = 0;
    for (const double advantage : advantages) {
      sum += advantage;
      squares += advantage * advantage;
    }
    const Whitening white = whitening(static_cast<double>(advantages.size()), sum, squares);
    for (double& advantage : advantages) advantage = (advantage - white.mean) * white.scale;
    check_close(advantages, whitened);

    const std::vector<double> weights(new_values.size(), 1 / static_cast<double>(new_values.size()));
    const ValueLoss loss = value_loss(new_values, old_values, returns, weights, golden.at("clip"));
    CHECK(loss.loss == Approx(golden.at("value_loss").get<double>()).epsilon(1e-12));
    CHECK(loss.clipped == golden.at("clipped").get<int>());
    check_close(loss.grad_values, expected_grad);
  }
}

}  // namespace troupe
