#include "learner/sharded_optimizer.h"

#include <cmath>
#include <limits>
#include <memory>

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "common/collective/thread_communicator.h"
#include "common/model/compute_device.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/learner/tiny_model.h"

using namespace troupe;

namespace {

OptimizerConfig config_of_test() {
  OptimizerConfig config;
  config.lr = 0.01;
  config.beta2 = 0.95;
  config.weight_decay = 0.1;
  return config;
}

/// Ranks take the GPUs in turn: on a machine with one the two of a test share it, and meet over the CPU.
at::Device gpu_of(const Communicator& ranks) { return compute_device("cuda", "test", at::kBFloat16, ranks.rank()); }

struct Fixture {
  Fixture(at::Device device, Communicator& communicator)
      : parameters(tiny_architecture(), at::kBFloat16, device),
        optimizer(parameters, tiny_start(parameters.layout()), config_of_test(), 5, communicator) {}
  OptimizerStep step(std::int64_t step, float spoilt = 0) {
    at::Tensor gradient = tiny_gradient(parameters.layout(), step);
    gradient[parameters.layout().find("model.norm.weight").offset] += spoilt;
    if (optimizer.communicator().rank() > 0) gradient.zero_();
    return optimizer.step(gradient.to(parameters.flat().device()), step);
  }
  Parameters parameters;
  ShardedOptimizer optimizer;
};

}  // namespace

TEST_SUITE("learner/cuda/sharded_optimizer") {
  TEST_CASE("updates on a GPU end in the bits of the CPU's, on one rank and on two") {
    for (const int size : {1, 2}) {
      CAPTURE(size);
      const auto errors = run_ranks(size, 60, [&](Communicator& ranks) {
        Fixture gpu(gpu_of(ranks), ranks), cpu(at::kCPU, ranks);
        for (std::int64_t step = 1; step <= 4; ++step) {
          const OptimizerStep found = gpu.step(step), expected = cpu.step(step);
          CHECK(found.grad_norm == doctest::Approx(expected.grad_norm).epsilon(1e-14));
          CHECK(found.clipped == expected.clipped);
        }
        CHECK(gpu.optimizer.master().is_cuda());
        CHECK(gpu.optimizer.master().cpu().equal(cpu.optimizer.master()));
        CHECK(gpu.optimizer.exp_avg().cpu().equal(cpu.optimizer.exp_avg()));
        CHECK(gpu.optimizer.exp_avg_sq().cpu().equal(cpu.optimizer.exp_avg_sq()));
        CHECK(gpu.parameters.flat().cpu().equal(cpu.parameters.flat()));
      });
      for (const std::string& error : errors) CHECK(error == "");
    }
  }

  TEST_CASE("gradients that are summed a unit at a time are those that are summed at once") {
    const auto errors = run_ranks(2, 60, [&](Communicator& ranks) {
      Fixture whole(gpu_of(ranks), ranks), parts(gpu_of(ranks), ranks);
      const ParameterLayout& layout = parts.parameters.layout();
      const at::Tensor gradient = tiny_gradient(layout, 1).to(parts.parameters.flat().device());

      const OptimizerStep expected = whole.optimizer.step(gradient, 1);
      parts.optimizer.clear_sum();
      for (std::size_t u = layout.units.size() - 1; u-- > 0;) {
        const ShardMap::Unit& unit = parts.optimizer.map().units()[u];
        const at::Tensor padded = at::zeros({unit.padded()}, gradient.options());
        padded.narrow(0, unit.begin - unit.origin, unit.end - unit.begin).copy_(gradient.narrow(0, unit.begin, unit.end - unit.begin));
        parts.optimizer.add_to_sum(u, padded);
      }
      const OptimizerStep found = parts.optimizer.update(1);

      CHECK(found.grad_norm == expected.grad_norm);
      CHECK(parts.parameters.flat().equal(whole.parameters.flat()));
    });
    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("a gradient that is not finite changes nothing, and its tensor is named") {
    const auto communicator = ThreadWorld(1).communicator(0);
    Fixture f(at::kCUDA, *communicator);
    f.step(1);
    const at::Tensor master = f.optimizer.master().clone(), low = f.parameters.flat().clone();

    const OptimizerStep result = f.step(2, std::numeric_limits<float>::infinity());

    CHECK(result.skipped);
    CHECK(result.bad_tensor == "model.norm.weight");
    CHECK(f.optimizer.master().equal(master));
    CHECK(f.parameters.flat().equal(low));
  }

  TEST_CASE("a state that is put back sets the parameters, and goes on as it was") {
    const auto communicator = ThreadWorld(1).communicator(0);
    Fixture whole(at::kCUDA, *communicator), first(at::kCUDA, *communicator), second(at::kCUDA, *communicator);
    for (std::int64_t step = 1; step <= 4; ++step) whole.step(step);
    for (std::int64_t step = 1; step <= 2; ++step) first.step(step);
    const auto on_cpu = [](const at::Tensor& tensor) { return tensor.cpu(); };

    second.optimizer.restore(on_cpu(first.optimizer.master()), on_cpu(first.optimizer.exp_avg()), on_cpu(first.optimizer.exp_avg_sq()),
                             first.optimizer.updates());

    CHECK(second.parameters.flat().equal(first.parameters.flat()));
    for (std::int64_t step = 3; step <= 4; ++step) second.step(step);
    CHECK(second.optimizer.master().equal(whole.optimizer.master()));
    CHECK(second.optimizer.gather(second.optimizer.master(), "m").is_cpu());
  }
}
