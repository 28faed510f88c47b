#include "learner/stages/supervised.h"

#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/common/collective/run_ranks.h"
#include "tests/learner/tiny_model.h"

using namespace troupe;

namespace {

/// The kernels want multiples of 16.
Architecture architecture() {
  Architecture a = tiny_architecture();
  a.hidden = 32;
  a.intermediate = 32;
  a.head_size = 16;
  return a;
}

struct Trained {
  at::Tensor weights;
  std::vector<SupervisedStep> steps;
};

/// Trains the tiny model on `ranks` ranks; rank 0's weights and what it was told of each step.
Trained trained(int ranks, std::int64_t steps, const SupervisedOptions& options) {
  Trained result;
  const auto errors = run_ranks(ranks, 30, [&](Communicator& communicator) {
    Parameters parameters(architecture(), at::kFloat);
    const Transformer model(parameters);
    ShardedOptimizer optimizer(parameters, tiny_start(parameters.layout()), {}, steps, communicator);
    SupervisedTrainer trainer(model, optimizer, options, communicator);
    for (std::int64_t step = 1; step <= steps; ++step) {
      const SupervisedStep told = trainer.train(step);
      if (communicator.rank() == 0) result.steps.push_back(told);
    }
    if (communicator.rank() == 0) result.weights = parameters.flat().clone();
  });
  for (const std::string& error : errors) CHECK(error == "");
  return result;
}

/// One step on one row.
Trained after_step(const SftExample& example) {
  return trained(1, 1, {1, 4096, [&](std::uint64_t) { return SupervisedUnit{example}; }, next_token_objective()});
}

/// Rows of one or two sequences, of different lengths.
SupervisedUnit numbered_unit(std::uint64_t number) {
  const auto id = static_cast<std::int32_t>(number % 7);
  SupervisedUnit unit = {{{1, id}, {id + 1, 3}}};
  if (number % 3 == 0) unit.push_back({{2}, {id, 5, 6}, {1, 0, 1}});
  return unit;
}

}  // namespace

TEST_SUITE("stages/supervised") {
  TEST_CASE("a completion token that is only read is as if it stood in the prompt") {
    const Trained short_one = after_step({{1, 2, 5, 6}, {3}});
    const Trained masked = after_step({{1, 2}, {5, 6, 3}, {0, 0, 1}});
    const Trained all = after_step({{1, 2}, {5, 6, 3}});
    const Trained ones = after_step({{1, 2}, {5, 6, 3}, {1, 1, 1}});

    CHECK(masked.steps[0].means == short_one.steps[0].means);
    CHECK(masked.steps[0].weight == 1);
    CHECK(all.steps[0].weight == 3);
    CHECK(all.steps[0].tokens == 5);
    CHECK(at::allclose(masked.weights, short_one.weights, 1e-5, 1e-7));  // products of other shapes: rounding alone
    CHECK(all.steps[0].means == ones.steps[0].means);
    CHECK(at::equal(all.weights, ones.weights));
    CHECK(all.steps[0].means != short_one.steps[0].means);
  }

  TEST_CASE("a step's loss is the mean over the trained tokens of its units, however they lie on ranks and in micro-batches") {
    const Trained one = trained(1, 3, {5, 4096, numbered_unit, next_token_objective()});
    const Trained small = trained(1, 3, {5, 4, numbered_unit, next_token_objective()});
    const Trained three = trained(3, 3, {5, 4096, numbered_unit, next_token_objective()});

    CHECK(one.steps[0].weight == 14);  // five rows of 2, and 2 of each of the second sequences of rows 0 and 3
    CHECK(one.steps[0].tokens == 28);
    for (const Trained* other : {&small, &three}) {
      for (std::size_t i = 0; i < 3; ++i) {
        CHECK(other->steps[i].weight == one.steps[i].weight);
        CHECK(other->steps[i].means[0] == doctest::Approx(one.steps[i].means[0]).epsilon(1e-5));  // sums in another order
        CHECK(other->steps[i].update.grad_norm == doctest::Approx(one.steps[i].update.grad_norm).epsilon(1e-4));
      }
    }
    CHECK(one.steps[1].means != one.steps[0].means);
  }

  TEST_CASE("an evaluation is the loss of a step on the same units, and changes nothing") {
    const auto errors = run_ranks(2, 30, [&](Communicator& communicator) {
      Parameters parameters(architecture(), at::kFloat);
      const Transformer model(parameters);
      ShardedOptimizer optimizer(parameters, tiny_start(parameters.layout()), {}, 1, communicator);
      SupervisedTrainer trainer(model, optimizer, {3, 4096, numbered_unit, next_token_objective()}, communicator);

      const std::vector<double> means = trainer.evaluate(numbered_unit, 3);
      CHECK(at::equal(parameters.flat(), tiny_start(parameters.layout())));
      CHECK(means == trainer.train(1).means);
      CHECK(trainer.evaluate(numbered_unit, 1) != means);
    });
    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("any rank's word counts for all") {
    for (const int who : {-1, 0, 1}) {
      const auto errors = run_ranks(
          2, 30, [&](Communicator& communicator) { CHECK(any_rank(communicator.rank() == who, communicator) == (who >= 0)); });
      for (const std::string& error : errors) CHECK(error == "");
    }
  }
}
