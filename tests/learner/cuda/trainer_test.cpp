#include "learner/trainer.h"

#include <cmath>

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "common/collective/thread_communicator.h"
#include "learner/publisher.h"
#include "learner/state_hash.h"
#include "tests/common/model/model_testing.h"

using namespace troupe;

namespace {

Config config_of_test() {
  Config config;
  config.run.exact = false;
  config.model.dtype = "bf16";
  config.loss.kl = "k3";
  config.loss.kl_coef = 0.05;
  config.loss.clip_high = 10;  // no bound is near, where a rounding would decide on which side a token falls
  config.loss.clip_low = 0.99;
  config.optimizer.lr = 1e-3;
  return config;
}

/// Two updates of three micro-batches.
StepPlan plan_of_test(std::int64_t vocabulary) {
  StepPlan plan;
  plan.step = 1;
  for (std::uint64_t u = 0; u < 2; ++u) {
    UpdateShard& update = plan.updates.emplace_back();
    for (std::uint64_t m = 0; m < 3; ++m) {
      auto& micro_batch = update.micro_batches.emplace_back();
      for (std::uint64_t s = 0; s < 4; ++s) {
        Trajectory trajectory;
        trajectory.group = 10 * u + m;
        trajectory.sample = static_cast<std::uint32_t>(s);
        trajectory.prompt_tokens = 5;
        const auto tokens = static_cast<std::int64_t>(20 + 30 * m + 7 * s);
        for (std::int64_t i = 0; i < 5 + tokens; ++i) {
          trajectory.ids.push_back(static_cast<std::int32_t>((i * i + 31 * static_cast<std::int64_t>(s + 4 * m + 20 * u)) % vocabulary));
        }
        trajectory.sampler_logprobs.assign(static_cast<std::size_t>(tokens), -4.6F);
        trajectory.advantage = s % 2 == 0 ? 1.0 : -1.0;
        ++update.global_sequences;
        update.global_tokens += tokens;
        micro_batch.push_back(std::move(trajectory));
      }
    }
  }
  return plan;
}

/// A learner's part on one device.
struct Learner {
  explicit Learner(at::Device device, bool offload = false)
      : start(testing::random_parameters(testing::small_architecture(), at::kFloat)),
        model(Parameters(start.architecture(), at::kBFloat16, device)),
        optimizer(model.parameters(), start.flat(), config.optimizer, 10, *communicator, offload),
        reference(Parameters(start.architecture(), at::kBFloat16, offload ? at::Device(at::kCPU) : device)),
        trainer(config, model, &reference, optimizer, *communicator) {
    reference.parameters().flat().copy_(start.flat());
  }
  TrainStats train() { return trainer.train(plan_of_test(start.architecture().vocabulary), [](const std::string&) {}); }

  Config config = config_of_test();
  std::unique_ptr<Communicator> communicator = ThreadWorld(1).communicator(0);
  Parameters start;
  Transformer model;
  ShardedOptimizer optimizer;
  Transformer reference;
  Trainer trainer;
};

}  // namespace

TEST_SUITE("learner/cuda/trainer") {
  TEST_CASE("a step of two updates on a GPU is the CPU's, but for the roundings of bf16") {
    Learner gpu(at::kCUDA), cpu(at::kCPU);

    const TrainStats found = gpu.train(), expected = cpu.train();

    CHECK(found.updates == 2);
    CHECK(found.policy.tokens == expected.policy.tokens);
    CHECK(found.loss == doctest::Approx(expected.loss).epsilon(0.01));
    CHECK(found.grad_norm == doctest::Approx(expected.grad_norm).epsilon(0.02));
    CHECK(found.entropy_sum == doctest::Approx(expected.entropy_sum).epsilon(0.002));
    // Adam moves each weight by about lr whatever the gradient's size, so weights whose gradient is near 0 may go either way.
    const at::Tensor start = gpu.start.flat(), moved = gpu.optimizer.master().cpu().narrow(0, 0, start.numel()) - start;
    const at::Tensor other = cpu.optimizer.master().narrow(0, 0, start.numel()) - start;
    CHECK(moved.norm().item<double>() == doctest::Approx(other.norm().item<double>()).epsilon(0.02));
    CHECK(((moved - other).norm() / other.norm()).item<double>() < 0.2);
  }

  TEST_CASE("optimizer state and reference that lie in the host's memory change no bit") {
    Learner gpu(at::kCUDA), host(at::kCUDA, true);

    const TrainStats expected = gpu.train(), found = host.train();

    CHECK(host.optimizer.master().is_cpu());
    CHECK(host.reference.parameters().flat().is_cpu());
    CHECK(found.loss == expected.loss);
    CHECK(host.model.parameters().flat().equal(gpu.model.parameters().flat()));
    CHECK(weights_digest(host.optimizer) == weights_digest(gpu.optimizer));
  }

  TEST_CASE("two learners on a GPU end in the same bits, and publish them") {
    Learner first(at::kCUDA), second(at::kCUDA);
    first.train();
    second.train();

    CHECK(weights_digest(first.optimizer) == weights_digest(second.optimizer));

    Publisher publisher("cuda-test", Logger("test", LogLevel::kError));
    const PublishedWeights published = publisher.publish(first.model.parameters(), 2);
    CHECK(published.manifest.dtype == "bf16");
    const at::Tensor low = second.model.parameters().flat().cpu();
    CHECK(published.bytes == std::string_view(static_cast<const char*>(low.const_data_ptr()), low.nbytes()));
  }
}
