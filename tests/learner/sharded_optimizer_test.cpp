#include "learner/sharded_optimizer.h"

#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/model/transformer.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/learner/tiny_model.h"

using namespace troupe;

namespace {

OptimizerConfig golden_config() {
  OptimizerConfig config;
  config.lr = 0.01;
  config.beta2 = 0.95;
  config.weight_decay = 0.1;
  config.clip_norm = 1.0;
  return config;
}

/// A rank's optimizer on the tiny model.
struct Fixture {
  explicit Fixture(Communicator& communicator, OptimizerConfig config = golden_config(),
                   at::ScalarType dtype = at::kFloat)
      : parameters(tiny_architecture(), dtype),
        optimizer(parameters, tiny_start(parameters.layout()), config, 5, communicator) {}

  const ParameterLayout& layout() const { return parameters.layout(); }
  /// What this rank adds to the gradient of `step`: rank 0 all of it, so that every world size has the same sum.
  OptimizerStep step(std::int64_t step) {
    const at::Tensor gradient = tiny_gradient(layout(), step);
    return optimizer.step(optimizer.communicator().rank() == 0 ? gradient : at::zeros_like(gradient), step);
  }

  Parameters parameters;
  ShardedOptimizer optimizer;
};

void on_ranks(int size, const std::function<void(Communicator&)>& body) {
  for (const std::string& error : run_ranks(size, 30, body)) CHECK(error == "");
}

double furthest(const at::Tensor& got, const std::vector<float>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst,
                     std::abs(static_cast<double>(got.const_data_ptr<float>()[i]) - static_cast<double>(expected[i])));
  }
  return worst;
}

}  // namespace

TEST_SUITE("learner/sharded_optimizer") {
  TEST_CASE("five updates are those of torch's AdamW with clip_grad_norm_ and decay on matrices alone") {
    const auto golden = nlohmann::json::parse(read_file(TROUPE_TEST_DATA "/parity/adamw_golden.json"));
    on_ranks(2, [&](Communicator& ranks) {
      Fixture f(ranks);
      for (std::int64_t step = 1; step <= 5; ++step) {
        const auto& expected = golden["steps"][static_cast<std::size_t>(step - 1)];

        const OptimizerStep result = f.step(step);

        CHECK(result.grad_norm == doctest::Approx(expected["grad_norm"].get<double>()).epsilon(1e-6));
        CHECK(result.clipped == (step != 3));
        CHECK(result.lr == 0.01);
        CHECK(!result.skipped);
        for (const auto& [name, values] : expected["parameters"].items()) {
          CAPTURE(name);
          // Values are below 0.5: one unit in the last place is 3e-8; each of 5 updates rounds a few times.
          CHECK(furthest(f.parameters[name].flatten(), values.get<std::vector<float>>()) < 1.5e-7);
        }
      }
      const at::Tensor first = f.optimizer.gather(f.optimizer.exp_avg(), "m");
      const at::Tensor second = f.optimizer.gather(f.optimizer.exp_avg_sq(), "v");
      CHECK(first.defined() == (ranks.rank() == 0));
      if (ranks.rank() > 0) return;
      for (const auto& [name, values] : golden["moments"].items()) {
        CAPTURE(name);
        const std::int64_t offset = f.layout().find(name).offset;
        CHECK(furthest(first.narrow(0, offset, 7), values["exp_avg"].get<std::vector<float>>()) < 1e-8);
        CHECK(furthest(second.narrow(0, offset, 7), values["exp_avg_sq"].get<std::vector<float>>()) < 1e-9);
      }
    });
  }

  TEST_CASE("one, two and three ranks end in the same bits where the summed gradient is the same") {
    std::vector<at::Tensor> ends(4);
    for (const int size : {1, 2, 3}) {
      on_ranks(size, [&](Communicator& ranks) {
        Fixture f(ranks);
        for (std::int64_t step = 1; step <= 5; ++step) f.step(step);
        if (ranks.rank() == size - 1) ends[static_cast<std::size_t>(size)] = f.parameters.flat().clone();
      });
    }

    CHECK(at::equal(ends[1], ends[2]));
    CHECK(at::equal(ends[1], ends[3]));
  }

  TEST_CASE("the gradient is the sum over the ranks") {
    at::Tensor split;
    at::Tensor whole;
    on_ranks(2, [&](Communicator& ranks) {
      Fixture f(ranks);
      // Dyadic fractions: three quarters and a quarter add up to the whole without rounding.
      f.optimizer.step(at::mul(tiny_gradient(f.layout(), 1), ranks.rank() == 0 ? 0.75 : 0.25), 1);
      if (ranks.rank() == 1) split = f.parameters.flat().clone();
    });
    on_ranks(1, [&](Communicator& ranks) {
      Fixture f(ranks);
      f.step(1);
      whole = f.parameters.flat().clone();
    });

    CHECK(at::equal(split, whole));
  }

  TEST_CASE("a non-finite gradient of one rank changes nothing on any, and its tensor is named") {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      on_ranks(3, [&](Communicator& ranks) {
        Fixture f(ranks);
        f.step(1);
        const at::Tensor before = f.parameters.flat().clone();
        const at::Tensor moment = f.optimizer.exp_avg().clone();
        at::Tensor gradient = tiny_gradient(f.layout(), 2);
        if (ranks.rank() == 1) {
          gradient[f.layout().find("model.layers.0.mlp.up_proj.weight").offset] = bad;
          gradient[f.layout().find("model.norm.weight").offset] = bad;
        }

        const OptimizerStep result = f.optimizer.step(gradient, 2);

        CHECK(result.skipped);
        CHECK(!result.clipped);
        CHECK(!std::isfinite(result.grad_norm));
        CHECK(result.bad_tensor == "model.layers.0.mlp.up_proj.weight");
        CHECK(at::equal(f.parameters.flat(), before));
        CHECK(at::equal(f.optimizer.exp_avg(), moment));
        CHECK(f.optimizer.updates() == 1);
        CHECK(!f.step(3).skipped);
        CHECK(f.optimizer.updates() == 2);
      });
    }
  }

  TEST_CASE("weight decay acts on matrices, not on norms and biases, and the gaps stay zero") {
    OptimizerConfig config = golden_config();
    config.lr = 0.5;
    config.weight_decay = 0.5;
    on_ranks(2, [&](Communicator& ranks) {
      Fixture f(ranks, config);
      const at::Tensor start = tiny_start(f.layout());
      f.optimizer.step(at::zeros_like(start), 1);

      at::Tensor expected = start.clone();
      for (const ParameterSpec& spec : f.layout().tensors) {
        if (spec.shape.size() == 2) expected.narrow(0, spec.offset, spec.numel).mul_(0.75);
      }
      CHECK(at::equal(f.parameters.flat(), expected));
    });
  }

  TEST_CASE("no clip norm means no clipping") {
    OptimizerConfig config = golden_config();
    config.clip_norm = 0;
    on_ranks(1, [&](Communicator& ranks) {
      Fixture f(ranks, config);

      const OptimizerStep result = f.step(1);

      CHECK(!result.clipped);
      // m = 0.1 g: the unclipped gradient's first element is (101 % 97 - 48) / 64.
      CHECK(f.optimizer.exp_avg()[0].item<float>() == doctest::Approx(0.1 * (4.0 - 48.0) / 64.0).epsilon(1e-6));
    });
  }

  TEST_CASE("bf16 parameters are the fp32 masters rounded to nearest even, and small updates are not lost") {
    OptimizerConfig config = golden_config();
    config.lr = 1e-5;  // far below the spacing of bf16 around 0.3 (2e-3)
    const auto check_ranks = [&](Communicator& ranks) {
      Fixture f(ranks, config, at::kBFloat16);
      const at::Tensor start = f.parameters.flat().clone();
      CHECK(at::equal(start, tiny_start(f.layout()).to(at::kBFloat16)));

      for (std::int64_t step = 1; step <= 5; ++step) f.step(step);

      const at::Tensor master = f.optimizer.gather(f.optimizer.master(), "master");
      if (ranks.rank() > 0) return;
      CHECK(!at::equal(master, tiny_start(f.layout())));
      CHECK(at::equal(f.parameters.flat(), master.to(at::kBFloat16)));
    };
    on_ranks(1, check_ranks);
    on_ranks(2, check_ranks);
  }

  TEST_CASE("a model computes with what an update wrote") {
    on_ranks(1, [&](Communicator& ranks) {
      Fixture f(ranks, golden_config(), at::kBFloat16);
      const Transformer model(f.parameters);
      const PackedSequences batch{at::arange(5, at::kLong), {0, 5}};
      const at::Tensor before = model.forward(batch, nullptr).clone();

      f.step(1);

      const at::Tensor after = model.forward(batch, nullptr);
      CHECK_FALSE(after.equal(before));
      CHECK(after.equal(Transformer(f.parameters).forward(batch, nullptr)));
    });
  }
}
