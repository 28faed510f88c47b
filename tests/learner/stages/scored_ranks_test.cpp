#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "common/reward_model/with_score.h"
#include "learner/critic.h"
#include "learner/stages/learner_ranks.h"
#include "learner/stages/reward_trainer.h"
#include "learner/stages/start_model.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/learner/tiny_model.h"
#include "tests/learner/trajectories.h"

// Critics and reward models of ranks that share out gradients, parameters or the model, beside a rank that has all by itself.

using namespace troupe;

namespace {

struct Case {
  int tensor = 1;
  int data = 1;
  int stage = 1;
};

/// Of several micro-batches a rank, the sums of which stages take in two orders.
const std::vector<Case> kCases = {{1, 2, 1}, {1, 3, 2}, {1, 3, 3}, {2, 1, 1}, {2, 1, 3}, {2, 2, 2}, {2, 2, 3}, {4, 1, 1}, {4, 1, 3}};

/// What ranks in any number must come to.
struct End {
  std::vector<double> numbers;
  at::Tensor weights;
};

Config config_of(const Case& c) {
  Config config;
  config.learners.tensor_parallel = c.tensor;
  config.learners.zero_stage = c.stage;
  config.learners.device = "cpu";
  config.model.dtype = "fp32";
  config.optimizer.lr = config.critic.lr = 1e-2;
  config.optimizer.clip_norm = 0.5;
  // Adam makes a step of lr of a change of any size: eps keeps what sums in another order differ by from becoming one.
  config.optimizer.eps = 1e-3;
  config.batch.micro_tokens = 8;
  config.loss.advantage = "gae";
  config.run.steps = 100;
  return config;
}

Parameters start() {
  Architecture a = tiny_architecture();
  a.layers = 2;
  a.hidden = 32;
  a.intermediate = 48;
  a.heads = a.kv_heads = 4;
  Parameters model(a, at::kFloat);
  model.flat().copy_(tiny_start(model.layout()));
  return with_score(model, 5);
}

/// `train` on each rank; what it says on rank 0.
template <class Train>
End end_of(const Case& c, const Train& train) {
  End end;
  for (const std::string& error : run_ranks(c.tensor * c.data, 30, [&](Communicator& communicator) {
         const Config config = config_of(c);
         LearnerRanks ranks(config, communicator);
         const Parameters initial = start();
         const End own = train(config, ranks, compute_parameters(config, initial.architecture(), ranks), initial);
         if (communicator.rank() == 0) end = own;
       })) {
    CHECK(error == "");
  }
  return end;
}

/// fp32 sums in another order: 2^-24 each of some dozens, and three updates of AdamW with eps = 1e-3.
template <class Train>
void check_all(const Train& train) {
  const End expected = end_of({}, train);
  REQUIRE(expected.weights.defined());
  CHECK((expected.weights - start().flat()).abs().max().item<double>() > 5e-3);
  for (const Case& c : kCases) {
    CAPTURE(c.tensor);
    CAPTURE(c.data);
    CAPTURE(c.stage);
    const End found = end_of(c, train), again = end_of(c, train);
    REQUIRE(found.numbers.size() == expected.numbers.size());
    for (std::size_t i = 0; i < found.numbers.size(); ++i) CHECK(found.numbers[i] == doctest::Approx(expected.numbers[i]).epsilon(1e-4));
    CHECK((found.weights - expected.weights).abs().max().item<double>() < 2e-5);
    CHECK(at::equal(found.weights, again.weights));
  }
}

/// One update of every size()-th trajectory, each a micro-batch.
StepPlan plan_of(const Communicator& ranks) {
  UpdateShard update;
  for (auto i = static_cast<std::size_t>(ranks.rank()); i < kTrajectories.size(); i += static_cast<std::size_t>(ranks.size())) {
    update.micro_batches.push_back({kTrajectories[i]});
  }
  return {1, {update}};
}

std::span<const float> sampled(const Trajectory& one) { return one.sampler_logprobs; }
std::span<const float> no_reference(const Trajectory&) { return {}; }

End critic_trained(const Config& config, LearnerRanks& ranks, const Parameters& parameters, const Parameters& initial) {
  Critic critic(config, parameters, initial, ranks.shards());
  const StepPlan plan = plan_of(ranks.data());
  const auto size = static_cast<std::size_t>(ranks.data().size());
  End end;
  for (int step = 1; step <= 3; ++step) {
    critic.look_ahead(plan, sampled, no_reference);
    const auto& micro_batches = plan.updates.front().micro_batches;
    for (const auto& micro_batch : micro_batches) {
      critic.train_micro_batch(micro_batch, std::vector<double>(static_cast<std::size_t>(micro_batch.front().completion_tokens()), 0.1));
    }
    for (std::size_t m = micro_batches.size(); m < (kTrajectories.size() + size - 1) / size; ++m) critic.train_micro_batch({}, {});
    const OptimizerStep told = critic.update(step);
    const CriticNumbers numbers = critic.numbers();
    end.numbers.insert(end.numbers.end(), {told.grad_norm, numbers.loss, numbers.explained_variance});
  }
  end.weights = critic.state().master;
  return end;
}

End reward_model_trained(const Config& config, LearnerRanks& ranks, const Parameters& parameters, const Parameters& initial) {
  const std::vector<RewardExample> all = {{{1, 2, 3}, {4, 5}}, {{2, 9}, {}, -1}, {{7, 7, 1, 2}, {3}}, {{10, 4}, {2, 2, 2}}, {{8, 1}}};
  std::vector<RewardExample> own;
  for (auto i = static_cast<std::size_t>(ranks.data().rank()); i < all.size(); i += static_cast<std::size_t>(ranks.data().size())) own.push_back(all[i]);
  RewardTrainer trainer(parameters, initial, config, ranks.shards());
  End end;
  for (int step = 1; step <= 3; ++step) {
    const auto [numbers, told] = trainer.step(step, own, std::ssize(all), nullptr);
    end.numbers.insert(end.numbers.end(), {told.grad_norm, numbers.loss, numbers.accuracy, trainer.evaluate(own, std::ssize(all)).loss});
  }
  end.weights = trainer.optimizer().gather(trainer.optimizer().master(), "masters");
  return end;
}

}  // namespace

TEST_SUITE("stages/scored_ranks") {
  TEST_CASE("a critic comes to the same by any number of ranks, at each stage and held together") { check_all(critic_trained); }

  TEST_CASE("so does a reward model") { check_all(reward_model_trained); }
}
