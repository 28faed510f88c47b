#include "learner/critic.h"

#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <cmath>

#include "common/base/error.h"
#include "common/reward_model/with_score.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/learner/temporary_folder.h"
#include "tests/learner/tiny_model.h"
#include "tests/learner/trajectories.h"

namespace troupe {
namespace {

Parameters tiny_critic() {
  Parameters model(tiny_architecture(), at::kFloat);
  model.flat().copy_(tiny_start(model.layout()));
  return with_score(model, 5);
}

Config ppo_config() {
  Config config;
  config.loss.advantage = "gae";
  config.loss.kl = "k1";
  config.loss.kl_in = "reward";
  config.loss.kl_coef = 0.1;
  config.critic.lr = 1e-2;
  config.critic.clip_value = 0;
  config.optimizer.clip_norm = 0;
  config.run.steps = 100;
  return config;
}

/// Two epochs of one update, of every size()-th trajectory.
StepPlan plan_of(int rank, int size) {
  UpdateShard update;
  update.global_sequences = 4;
  update.global_tokens = 10;
  for (std::size_t i = static_cast<std::size_t>(rank); i < kTrajectories.size(); i += static_cast<std::size_t>(size)) {
    update.micro_batches.push_back({kTrajectories[i]});
  }
  return {1, {update, update}};
}

std::span<const float> sampled(const Trajectory& trajectory) { return trajectory.sampler_logprobs; }
std::span<const float> no_reference(const Trajectory&) { return {}; }

Critic critic_of(const Config& config, Communicator& ranks) {
  const Parameters start = tiny_critic();
  Parameters own(start.architecture(), at::kFloat);
  return Critic(config, own, start, ranks);
}

CriticNumbers train(Critic& critic, const StepPlan& plan) {
  critic.look_ahead(plan, sampled, no_reference);
  for (const UpdateShard& update : plan.updates) {
    for (const auto& micro_batch : update.micro_batches) {
      const std::vector<double> weights(static_cast<std::size_t>(micro_batch.front().completion_tokens()), 0.1);
      critic.train_micro_batch(micro_batch, weights);
    }
    critic.update(plan.step);
  }
  return critic.numbers();
}

/// run_ranks, of which none may fail.
void on_ranks(int size, const std::function<void(Communicator&)>& body) {
  for (const std::string& error : run_ranks(size, 30, body)) CHECK(error == "");
}

}  // namespace

TEST_SUITE("learner/critic") {
  TEST_CASE("advantages are whitened over the step of all ranks, each completion counted once") {
    on_ranks(1, [](Communicator& ranks) {
      Critic critic = critic_of(ppo_config(), ranks);
      critic.look_ahead(plan_of(0, 1), sampled, no_reference);
      double sum = 0, squares = 0;
      for (const double advantage : critic.advantages(kTrajectories)) {
        sum += advantage;
        squares += advantage * advantage;
      }
      CHECK(std::abs(sum) < 1e-12);
      CHECK(squares == doctest::Approx(9).epsilon(1e-6));  // ten tokens, divided by nine
    });
    std::vector<double> alone;
    on_ranks(1, [&](Communicator& ranks) {
      Critic critic = critic_of(ppo_config(), ranks);
      critic.look_ahead(plan_of(0, 1), sampled, no_reference);
      alone = critic.advantages(kTrajectories);
    });
    on_ranks(2, [&](Communicator& ranks) {
      Critic critic = critic_of(ppo_config(), ranks);
      const StepPlan plan = plan_of(ranks.rank(), 2);
      critic.look_ahead(plan, sampled, no_reference);
      const std::vector<double> own = critic.advantages(plan.updates.front().micro_batches.front());
      const std::size_t first = ranks.rank() == 0 ? 0 : 3;  // kTrajectories[0] or kTrajectories[1]
      for (std::size_t t = 0; t < own.size(); ++t) CHECK(own[t] == doctest::Approx(alone[first + t]).epsilon(1e-12));
    });
  }

  TEST_CASE("the KL to the reference is charged where it is part of the reward, and only there") {
    const std::vector<float> reference(8, -3.0F);
    const auto of_reference = [&](const Trajectory& one) { return std::span(reference).first(one.sampler_logprobs.size()); };
    on_ranks(1, [&](Communicator& ranks) {
      Config config = ppo_config();
      config.critic.whiten = false;
      config.critic.lambda = 1;
      const auto first_advantages = [&](const Critic::Logprobs& logprobs) {
        Critic critic = critic_of(config, ranks);
        critic.look_ahead(plan_of(0, 1), sampled, logprobs);
        return critic.advantages(std::span(kTrajectories).first(1));
      };
      const auto free = first_advantages(no_reference);
      const auto charged = first_advantages(of_reference);
      // 0.1 (-1 - -3) a token, for this one and those behind it.
      for (std::size_t t = 0; t < 3; ++t) CHECK(free[t] - charged[t] == doctest::Approx(0.2 * static_cast<double>(3 - t)));
      config.loss.kl_in = "loss";
      CHECK(first_advantages(of_reference) == free);
    });
  }

  TEST_CASE("it learns what completions bring; on two ranks the same") {
    CriticNumbers last;
    on_ranks(1, [&](Communicator& ranks) {
      Config config = ppo_config();
      config.critic.lambda = 1;
      Critic critic = critic_of(config, ranks);
      const CriticNumbers first = train(critic, plan_of(0, 1));
      for (int step = 0; step < 60; ++step) last = train(critic, plan_of(0, 1));
      CHECK(first.explained_variance < 0.5);
      CHECK(last.explained_variance > 0.9);
      CHECK(last.loss < 0.1 * first.loss);
    });
    on_ranks(2, [&](Communicator& ranks) {
      Config config = ppo_config();
      config.critic.lambda = 1;
      Critic critic = critic_of(config, ranks);
      CriticNumbers same;
      for (int step = 0; step < 61; ++step) same = train(critic, plan_of(ranks.rank(), 2));
      CHECK(same.explained_variance > 0.9);
    });
  }

  TEST_CASE("a state that was written and read goes on to the same bits on another number of ranks") {
    const TemporaryFolder folder;
    at::Tensor whole;
    on_ranks(1, [&](Communicator& ranks) {
      Critic critic = critic_of(ppo_config(), ranks);
      train(critic, plan_of(0, 1));
      write_state(critic.state(), folder.path() / "critic.safetensors");
      train(critic, plan_of(0, 1));
      whole = critic.state().master;
      CHECK(critic.state().updates == 4);
      CHECK_THROWS_WITH_AS(read_state(folder.path() / "critic.safetensors", 7), doctest::Contains("expected the tensor master of 7"), ConfigError);
    });
    on_ranks(1, [&](Communicator& ranks) {
      Critic critic = critic_of(ppo_config(), ranks);
      critic.restore(read_state(folder.path() / "critic.safetensors", critic.total()));
      train(critic, plan_of(0, 1));
      CHECK(at::equal(critic.state().master, whole));
    });
    on_ranks(2, [&](Communicator& ranks) {
      Critic critic = critic_of(ppo_config(), ranks);
      critic.restore(read_state(folder.path() / "critic.safetensors", critic.total()));
      const AdamState state = critic.state();
      if (ranks.rank() == 0) CHECK(at::equal(state.exp_avg, read_state(folder.path() / "critic.safetensors", critic.total()).exp_avg));
    });
  }

  TEST_CASE("it starts from the policy's start, or from a model with its vocabulary") {
    Config config = ppo_config();
    Parameters policy(tiny_architecture(), at::kFloat);
    policy.flat().copy_(tiny_start(policy.layout()));
    const Parameters fresh = fresh_critic(config, policy);
    CHECK(at::equal(fresh["model.norm.weight"], policy["model.norm.weight"]));
    CHECK(at::equal(fresh["score.weight"], fresh_critic(config, policy)["score.weight"]));
    config.run.seed = 2;
    CHECK_FALSE(at::equal(fresh["score.weight"], fresh_critic(config, policy)["score.weight"]));
    config.critic.path = TROUPE_TEST_DATA "/parity/reward_models/llama";
    CHECK_THROWS_WITH_AS(fresh_critic(config, policy), doctest::Contains("expected a model with the policy's vocabulary of 11 tokens"), ConfigError);
  }
}

}  // namespace troupe
