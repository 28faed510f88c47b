#include "learner/stages/sft.h"

#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <functional>
#include <utility>
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

SftOptions three_steps() {
  SftOptions options;
  options.steps = 3;
  options.batch = 2;
  options.example = [](std::uint64_t number) {
    const auto id = static_cast<std::int32_t>(number % 7);
    return SftExample{{1, id}, {static_cast<std::int32_t>(id + 1), 3}};
  };
  return options;
}

/// What run_sft returns on each of two ranks, where `stops(rank, step)` is the rank's signal after the step.
std::vector<std::int64_t> last_steps(const std::function<bool(int rank, std::int64_t step)>& stops) {
  std::vector<std::int64_t> steps(2);
  const auto errors = run_ranks(2, 30, [&](Communicator& communicator) {
    Parameters parameters(architecture(), at::kFloat);
    parameters.flat().copy_(tiny_start(parameters.layout()));
    SftOptions options = three_steps();
    std::int64_t asked = 0;
    options.stop = [&] { return stops(communicator.rank(), ++asked); };
    steps[static_cast<std::size_t>(communicator.rank())] = run_sft(parameters, options, communicator);
  });
  for (const std::string& error : errors) CHECK(error == "");
  return steps;
}

/// The weights after a step on one row, and its loss.
std::pair<at::Tensor, double> after_step(const SftExample& example) {
  std::pair<at::Tensor, double> result;
  const auto errors = run_ranks(1, 30, [&](Communicator& communicator) {
    Parameters parameters(architecture(), at::kFloat);
    parameters.flat().copy_(tiny_start(parameters.layout()));
    SftOptions options = three_steps();
    options.steps = options.batch = 1;
    options.example = [&](std::uint64_t) { return example; };
    options.on_step = [&](std::int64_t, double loss, double) { result.second = loss; };
    run_sft(parameters, options, communicator);
    result.first = parameters.flat().clone();
  });
  for (const std::string& error : errors) CHECK(error == "");
  return result;
}

}  // namespace

TEST_SUITE("stages/sft") {
  TEST_CASE("a completion token that is only read is as if it stood in the prompt") {
    const auto [weights, loss] = after_step({{1, 2, 5, 6}, {3}});
    const auto [masked, masked_loss] = after_step({{1, 2}, {5, 6, 3}, {0, 0, 1}});
    const auto [all, all_loss] = after_step({{1, 2}, {5, 6, 3}});
    const auto [ones, ones_loss] = after_step({{1, 2}, {5, 6, 3}, {1, 1, 1}});
    CHECK(masked_loss == loss);
    CHECK(at::allclose(masked, weights, 1e-5, 1e-7));  // products of other shapes: rounding alone
    CHECK(all_loss == ones_loss);
    CHECK(at::equal(all, ones));
    CHECK(all_loss != loss);
  }

  TEST_CASE("it ends after its steps, or on every rank after the step in which any rank was told to stop") {
    CHECK(last_steps([](int, std::int64_t) { return false; }) == std::vector<std::int64_t>{3, 3});
    CHECK(last_steps([](int rank, std::int64_t step) { return rank == 1 && step >= 2; }) == std::vector<std::int64_t>{2, 2});
    CHECK(last_steps([](int rank, std::int64_t) { return rank == 0; }) == std::vector<std::int64_t>{1, 1});
  }
}
