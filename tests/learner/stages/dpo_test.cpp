#include "learner/stages/dpo.h"

#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "tests/learner/tiny_model.h"

using namespace troupe;

namespace {

constexpr double kBeta = 0.25;

/// The kernels want multiples of 16.
Transformer tiny_model() {
  Architecture a = tiny_architecture();
  a.hidden = 32;
  a.intermediate = 32;
  a.head_size = 16;
  Parameters parameters(a, at::kFloat);
  parameters.flat().copy_(tiny_start(parameters.layout()));
  return Transformer(parameters);
}

/// Two pairs; a token of the first rejected answer is only read.
struct Pairs {
  std::vector<std::vector<std::int32_t>> ids = {{1, 2, 3, 4}, {1, 2, 5, 6}, {7, 8, 9}, {7, 8, 1}};
  SupervisedMicroBatch batch = {{{ids[0], 2}, {ids[1], 2}, {ids[2], 2}, {ids[3], 1}}, {1, 1, 1, 0, 1, 1, 1}};
  Transformer reference = tiny_model();
  SupervisedObjective objective = dpo_objective(reference, kBeta);
  at::Tensor reference_logp = TokenPass(reference, batch.sequences, 1.0, std::nullopt).tokens().logp_N.clone();

  SupervisedLoss at(const std::vector<float>& shift, UpdateTrace* trace = nullptr) {
    return objective.loss(batch, reference_logp + at::tensor(shift), 0.5, trace);
  }
};

}  // namespace

TEST_SUITE("stages/dpo") {
  TEST_CASE("at the reference every pair costs log 2, has no margin and is not told apart") {
    Pairs pairs;

    const SupervisedLoss loss = pairs.at({0, 0, 0, 0, 0, 0, 0});

    CHECK(pairs.objective.metrics == std::vector<std::string>{"loss", "accuracy", "margin", "reward_chosen", "reward_rejected"});
    CHECK(loss.sums[0] == doctest::Approx(2 * std::log(2.0)).epsilon(1e-15));
    for (const std::size_t i : {1, 2, 3, 4}) CHECK(loss.sums[i] == 0);
    const auto half = static_cast<float>(kBeta / 2);
    CHECK(at::equal(loss.grad_logp_N, at::tensor({-half, -half, half, 0.0F, -half, half, half})));
  }

  TEST_CASE("metrics are sums over pairs of what the shifts of the answers' trained tokens make of them") {
    Pairs pairs;
    UpdateTrace trace;

    const SupervisedLoss loss = pairs.at({1, 2, 0.5, 100, -1, 2, 1}, &trace);

    // Rewards: 0.25 * 3 and 0.25 * 0.5; 0.25 * -1 and 0.25 * 3. The token with weight 0 counts for nothing.
    const double first = 0.75 - 0.125, second = -0.25 - 0.75;
    CHECK(loss.sums[0] == doctest::Approx(std::log1p(std::exp(-first)) + std::log1p(std::exp(-second))).epsilon(1e-5));
    CHECK(loss.sums[1] == 1);
    CHECK(loss.sums[2] == doctest::Approx(first + second).epsilon(1e-5));
    CHECK(loss.sums[3] == doctest::Approx(0.75 - 0.25).epsilon(1e-5));
    CHECK(loss.sums[4] == doctest::Approx(0.125 + 0.75).epsilon(1e-5));
    CHECK(trace.reference_logprobs.size() == 7);
    CHECK(trace.reference_logprobs[6] == pairs.reference_logp[6].item<float>());
    CHECK(trace.token_weights == std::vector<float>{0.5, 0.5, 0.5, 0, 0.5, 0.5, 0.5});
  }

  TEST_CASE("the gradient is the loss's slope") {
    Pairs pairs;
    const std::vector<float> place = {1, 2, 0.5, 100, -1, 2, 1};
    const at::Tensor grad = pairs.at(place).grad_logp_N;
    for (std::size_t i = 0; i < place.size(); ++i) {
      constexpr float kStep = 0x1p-4;
      std::vector<float> above = place, below = place;
      above[i] += kStep;
      below[i] -= kStep;
      const double slope = (pairs.at(above).sums[0] - pairs.at(below).sums[0]) / (2 * kStep);
      CHECK(grad[static_cast<std::int64_t>(i)].item<double>() == doctest::Approx(slope).epsilon(1e-3));
    }
  }
}
