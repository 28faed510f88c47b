#include "learner/replay/tolerance.h"

#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/learner/tiny_model.h"

using namespace troupe;

namespace {

const ParameterLayout kLayout(tiny_architecture());

/// Two sequences of 40 and 60 tokens, of which three train; the largest gradient of every tensor is 2.
UpdateTrace update() {
  UpdateTrace trace;
  trace.sequence_tokens = {40, 60};
  trace.logprobs = {-1.0F, -1.0F, -1.0F};
  trace.old_logprobs = {-1.0F, -1.0F, -1.0F};
  trace.token_weights = {0.5F, 0.25F, 0.25F};
  trace.advantages = {2.0F, -2.0F, 4.0F};
  trace.loss = -1.5;
  trace.gradients = flat_of(kLayout, [](std::int64_t i) { return i % 1000 == 3 ? -2.0 : 0.5; });
  trace.weights_after = tiny_start(kLayout);
  return trace;
}

UpdateTrace copy_of(const UpdateTrace& trace) {
  UpdateTrace copy = trace;
  copy.gradients = trace.gradients.clone();
  copy.weights_after = trace.weights_after.clone();
  return copy;
}

float& element(const at::Tensor& flat, std::int64_t at) { return flat.mutable_data_ptr<float>()[at]; }

StepTolerance tolerance() { return tolerance_of(kLayout, update(), 4); }

}  // namespace

TEST_SUITE("learner/replay/tolerance") {
  TEST_CASE("n counts tokens and ranks; the bounds are the header's formulas") {
    const StepTolerance t = tolerance();
    CHECK(t.terms == 104);
    // M = 2 (0.5 * 2 + 0.25 * 2 + 0.25 * 4) + 1.5
    CHECK(t.loss / (2 * 104 * 0x1p-53 * 6.5) == doctest::Approx(1));
    REQUIRE(t.gradients.size() == kLayout.tensors.size());
    for (const double gradient : t.gradients) CHECK(gradient / (104 * 0x1p-24 * 2) == doctest::Approx(1));
    double elements = 0;
    for (const ParameterSpec& spec : kLayout.tensors) elements += static_cast<double>(spec.numel);
    CHECK(t.grad_norm / (104 * 0x1p-23 * std::sqrt(elements)) == doctest::Approx(1));
  }

  TEST_CASE("the longest way of AdamW in one update is the learning rate at first, more later") {
    CHECK(longest_way(OptimizerConfig(), 1, 1e-3) == doctest::Approx(1e-3));
    // t = 2, beta 0.9 and 0.999: a = (0.9, 1) / 1.9, b = (0.999, 1) / 1.999
    const double b2 = std::sqrt((0.81 / 0.999 + 1.0) / (1.9 * 1.9) * 1.999);
    CHECK(longest_way(OptimizerConfig(), 2, 1e-3) == doctest::Approx(1e-3 * b2));
    // t without end: (1 - 0.9) / sqrt(1 - 0.999) / sqrt(1 - 0.81 / 0.999)
    const double limit = 0.1 / std::sqrt(0.001) / std::sqrt(1 - 0.81 / 0.999);
    CHECK(longest_way(OptimizerConfig(), 100000, 1e-3) == doctest::Approx(1e-3 * limit));
  }

  TEST_CASE("what is within every bound passes, what is beyond one is named with both values") {
    const UpdateTrace expected = update();
    const StepTolerance t = tolerance();
    UpdateTrace found = copy_of(expected);
    found.loss += 0.9 * t.loss;
    element(found.gradients, 5) += static_cast<float>(0.9 * t.gradients[0]);
    CHECK(beyond(t, kLayout, expected, found) == "");

    UpdateTrace loss = copy_of(expected);
    loss.loss += 1.5 * t.loss;
    CHECK(beyond(t, kLayout, expected, loss).starts_with("loss: expected -1.5 within "));
    UpdateTrace gradient = copy_of(expected);
    element(gradient.gradients, 5) -= static_cast<float>(1.1 * t.gradients[0]);
    CHECK(beyond(t, kLayout, expected, gradient).starts_with("gradient model.embed_tokens.weight[0, 5]: expected 0.5 within "));
  }

  TEST_CASE("a weight may be off by the bound, and by the rounding of its last place") {
    const at::Tensor expected = tiny_start(kLayout);
    at::Tensor found = expected.clone();
    element(found, 5) += 0.9e-3F;
    CHECK(weight_beyond(kLayout, 1e-3, expected, found) == "");
    CHECK(weight_beyond(kLayout, 0.8e-3, expected, found).starts_with("weight model.embed_tokens.weight[0, 5]: expected "));
    found = expected.clone();
    float& rounded = element(found, 0);
    REQUIRE(rounded != 0.0F);
    rounded = std::nextafter(rounded, 1.0F);
    CHECK(weight_beyond(kLayout, 0, expected, found) == "");
    for (int i = 0; i < 4; ++i) rounded = std::nextafter(rounded, 1.0F);
    CHECK(weight_beyond(kLayout, 0, expected, found) != "");
  }

  TEST_CASE("what is not a number is beyond any bound") {
    UpdateTrace found = copy_of(update());
    found.loss = std::numeric_limits<double>::quiet_NaN();
    CHECK(beyond(tolerance(), kLayout, update(), found) != "");
    found = copy_of(update());
    element(found.gradients, 0) = std::numeric_limits<float>::quiet_NaN();
    CHECK(beyond(tolerance(), kLayout, update(), found) != "");
  }
}
