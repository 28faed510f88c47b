#include "learner/objective/intake.h"

#include <doctest/doctest.h>

#include <limits>
#include <map>
#include <string>
#include <tuple>

#include "common/base/error.h"
#include "learner/objective/packer.h"
#include "learner/objective/token_weights.h"
#include "tests/learner/objective/loss_batch.h"

namespace troupe {
namespace {

using doctest::Approx;

struct Answer {
  std::optional<double> reward;
  std::int64_t tokens = 2;
  FinishReason finish_reason = FinishReason::kStop;
};

// A group whose completions repeat the sample's number, drawn by `version`; accuracy is the reward, format 1 for sample
// 0 only.
GroupRecord record(std::uint64_t number, std::uint64_t version, const std::vector<Answer>& answers) {
  GroupRecord result;
  result.group = number;
  result.prompt_ids = {100, 101, 102};
  for (const Answer& answer : answers) {
    Completion completion;
    completion.sample = static_cast<std::uint32_t>(result.completions.size());
    const auto tokens = static_cast<std::size_t>(answer.tokens);
    completion.token_ids.assign(tokens, static_cast<std::int32_t>(completion.sample));
    completion.logprobs.assign(tokens, -0.5F * static_cast<float>(completion.sample + 1));
    completion.versions.assign(tokens, version);
    completion.finish_reason = answer.finish_reason;
    Score score;
    score.reward = answer.reward;
    score.components = {{"format", completion.sample == 0 ? 1.0 : 0.0, "ok", 0}, {"accuracy", answer.reward, "ok", 0}};
    result.completions.push_back(completion);
    result.scores.push_back(score);
  }
  return result;
}

constexpr auto kMissing = std::nullopt;
constexpr FinishReason kCut = FinishReason::kLength;

}  // namespace

TEST_SUITE("objective/intake") {
  TEST_CASE("a trajectory has the prompt in front, the sampler's numbers and its group's advantage") {
    const StepBatch batch = make_step(Config{}, 5, {record(9, 4, {{0.0, 1}, {1.0, 2, kCut}})});

    CHECK(batch.step == 5);
    REQUIRE(batch.groups.size() == 1);
    REQUIRE(batch.groups[0].size() == 2);
    const Trajectory& second = batch.groups[0][1];
    CHECK(second.group == 9);
    CHECK(second.sample == 1);
    CHECK(second.ids == std::vector<std::int32_t>{100, 101, 102, 1, 1});
    CHECK(second.prompt_tokens == 3);
    CHECK(second.sampler_logprobs == std::vector<float>{-1, -1});
    CHECK(second.versions == std::vector<std::uint64_t>{4, 4});
    CHECK(second.reward == 1);
    CHECK(second.advantage == Approx(1));
    CHECK(second.cut_off);
    CHECK(batch.groups[0][0].advantage == Approx(-1));
    CHECK_FALSE(batch.groups[0][0].cut_off);
  }

  TEST_CASE("what does not train is left out and counted, and only a missing reward leaves the statistics") {
    Config config;
    config.loss.overlong_mask = true;
    config.loss.advantage = "no_std";
    const double nan = std::numeric_limits<double>::quiet_NaN();

    // Rewards that are there: 0 0 3 1, mean 1.
    const StepBatch batch =
        make_step(config, 1, {record(0, 0, {{0.0}, {kMissing}, {0.0, 8, kCut}, {nan}, {3.0, 0}, {1.0}})});

    REQUIRE(batch.groups[0].size() == 2);
    CHECK(batch.groups[0][0].sample == 0);
    CHECK(batch.groups[0][0].advantage == -1);
    CHECK(batch.groups[0][1].sample == 5);
    CHECK(batch.groups[0][1].advantage == 0);
    CHECK(batch.metrics.completions == 6);
    CHECK(batch.metrics.trained == 2);
    CHECK(batch.metrics.missing_reward == 2);
    CHECK(batch.metrics.masked_overlong == 1);
    CHECK(batch.metrics.empty == 1);
    CHECK(batch.metrics.tokens_trained == 4);

    config.loss.overlong_mask = false;
    CHECK(make_step(config, 1, {record(0, 0, {{0.0}, {1.0, 8, kCut}})}).groups[0].size() == 2);
  }

  TEST_CASE("the overlong penalty enters the advantages and not the reported reward") {
    Config config;
    config.loss.advantage = "no_std";
    config.sampling.max_tokens = 10;
    config.loss.overlong_buffer = 4;
    config.loss.overlong_penalty = 2;
    const GroupRecord group = record(0, 0, {{1.0, 6}, {1.0, 8}, {kMissing, 10}});

    // 1 and 1 - 2 * 2/4 = 0
    CHECK(shaped_rewards(config, group) == GroupRewards{1.0, 0.0, kMissing});
    const StepBatch batch = make_step(config, 1, {group});
    CHECK(batch.groups[0][0].advantage == 0.5);
    CHECK(batch.groups[0][1].advantage == -0.5);
    CHECK(batch.groups[0][1].reward == 0);
    CHECK(batch.metrics.reward_sum == 2);
    CHECK(batch.metrics.overlong_penalty_sum == -1);
    CHECK(batch.metrics.zero_variance_groups == 0);
  }

  TEST_CASE("metrics are sums and counts over all completions") {
    Config config;
    config.run.max_lag = 2;
    const StepBatch batch = make_step(
        config, 5, {record(0, 4, {{1.0, 3}, {1.0, 5}}), record(1, 2, {{0.0, 4}, {0.5, 9, kCut}, {kMissing, 1}})});

    const IntakeMetrics& m = batch.metrics;
    CHECK(m.groups == 2);
    CHECK(m.zero_variance_groups == 1);
    CHECK(m.completions == 5);
    CHECK(m.trained == 4);
    CHECK(m.rewards == 4);
    CHECK(m.reward_sum == 2.5);
    CHECK(m.reward_min == 0);
    CHECK(m.reward_max == 1);
    CHECK(m.accuracies == 4);
    CHECK(m.accuracy_sum == 2.5);
    CHECK(m.formats == 5);
    CHECK(m.format_sum == 2);
    CHECK(m.tokens == 22);
    CHECK(m.tokens_max == 9);
    CHECK(m.tokens_trained == 21);
    CHECK(m.cut_off == 1);
    CHECK(m.lag_sum == 0 + 2);
    CHECK(m.lag_max == 2);
  }

  TEST_CASE("without a component named accuracy the first one is it") {
    GroupRecord group = record(0, 0, {{1.0}, {0.0}});
    for (Score& score : group.scores)
      score.components = {{"countdown", *score.reward / 2, "ok", 0}, {"format", kMissing, "x", 0}};

    const IntakeMetrics m = make_step(Config{}, 1, {group}).metrics;

    CHECK(m.accuracies == 2);
    CHECK(m.accuracy_sum == 0.5);
    CHECK(m.formats == 0);
  }

  TEST_CASE("the format component is told by its kind, or else by its name") {
    GroupRecord group = record(0, 0, {{-2.0}, {-1.0}});
    for (Score& score : group.scores) {
      score.components = {{"accuracy", 1.0, "ok", 0}, {"shape", 0.25, "wrong", 0}, {"format", 1.0, "ok", 0}};
    }
    Config config;
    CHECK(look_at(config, {group}).format_sum == 2);
    config.rewards = {{"accuracy", "math"}, {"shape", "tags"}};
    CHECK(look_at(config, {group}).format_sum == 0.5);
    CHECK(look_at(config, {group}).formats == 2);
    CHECK(look_at(config, {group}).reward_min == -2);
    CHECK(look_at(config, {group}).reward_max == -1);
  }

  TEST_CASE("a group that is staler than max_lag, or from the future, is a bug named by group and step") {
    Config config;
    config.run.max_lag = 1;

    CHECK_NOTHROW(make_step(config, 5, {record(3, 3, {{1.0}})}));
    CHECK_THROWS_WITH_AS(make_step(config, 5, {record(3, 2, {{1.0}})}),
                         doctest::Contains("group 3 has lag 2 at step 5"), InternalError);
    CHECK_THROWS_WITH_AS(make_step(config, 5, {record(3, 5, {{1.0}})}), doctest::Contains("lag -1"), InternalError);
  }

  TEST_CASE("a record without a score or a log-probability for each is a bug") {
    GroupRecord no_score = record(3, 0, {{1.0}, {0.0}});
    no_score.scores.pop_back();
    GroupRecord no_logprob = record(3, 0, {{1.0}, {0.0}});
    no_logprob.completions[1].logprobs.pop_back();

    CHECK_THROWS_AS(make_step(Config{}, 1, {no_score}), InternalError);
    CHECK_THROWS_AS(make_step(Config{}, 1, {no_logprob}), InternalError);
  }

  TEST_CASE("advantages are taken over the whole step, whatever its mini-batches") {
    Config config;
    config.loss.advantage = "reinforce_pp";
    config.batch.updates = 2;

    // 0 0 | 2 2: mean 1, std 1 over the step; 0 within each half.
    const StepBatch batch = make_step(config, 1, {record(0, 0, {{0.0}, {0.0}}), record(1, 0, {{2.0}, {2.0}})});
    const auto plans = pack_step(batch, config.batch, 1);

    CHECK(plans[0].updates[0].micro_batches[0][0].advantage == -1);
    CHECK(plans[0].updates[1].micro_batches[0][0].advantage == 1);
  }

  TEST_CASE("loss and gradients of a step are the same for every world size and micro-batch budget") {
    Config config;
    config.loss.kl_coef = 0.1;
    config.sampling.max_tokens = 16;
    std::vector<GroupRecord> records;
    for (std::uint64_t g = 0; g < 4; ++g) {
      const auto n = static_cast<std::int64_t>(g);
      records.push_back(record(g, 0, {{1.0, 2 + n}, {0.0, 7 - n}, {kMissing, 3}, {0.25, 5}, {0.5, 1 + 2 * n, kCut}}));
    }
    // A model's stand-in: a token's log-probability from what identifies it.
    const auto logp_of = [](const Trajectory& t, std::int64_t position) {
      return -0.125F *
             static_cast<float>(1 + (static_cast<std::int64_t>(t.group) * 7 + t.sample * 3 + position * 5) % 23);
    };
    using Gradients = std::map<std::tuple<std::uint64_t, std::uint32_t, std::int64_t>, float>;
    const auto train = [&](int world, std::int64_t micro_tokens) {
      config.batch.micro_tokens = micro_tokens;
      std::pair<double, Gradients> result;
      for (const StepPlan& plan : pack_step(make_step(config, 1, records), config.batch, world)) {
        for (const auto& micro_batch : plan.updates.at(0).micro_batches) {
          const TokenTargets targets =
              token_targets(micro_batch, plan.updates[0], config.loss, config.sampling.max_tokens);
          test::LossBatch batch{{}, targets.advantage, {}, targets.sampler_logp, {}, targets.weight, targets.offsets};
          for (const Trajectory& t : micro_batch) {
            for (std::int64_t i = 0; i < t.completion_tokens(); ++i) {
              batch.logp.push_back(logp_of(t, i));
              batch.old_logp.push_back(logp_of(t, i + 1));
              batch.ref_logp.push_back(logp_of(t, i + 2));
            }
          }
          const PolicyLoss found = batch.loss(config.loss);
          result.first += found.loss;
          auto grad = found.grad_logp.begin();
          for (const Trajectory& t : micro_batch) {
            for (std::int64_t i = 0; i < t.completion_tokens(); ++i) result.second[{t.group, t.sample, i}] = *grad++;
          }
        }
      }
      return result;
    };

    for (const std::string normalise : {"sequence_mean", "token_mean", "dr_grpo"}) {
      for (const std::string policy : {"clip", "gspo", "cispo"}) {
        config.loss.normalise = normalise;
        config.loss.policy = policy;
        const auto [loss, gradients] = train(1, 10000);
        REQUIRE(gradients.size() == 14 + 22 + 20 + 16);
        for (const auto& split : {std::pair{1, 1}, {1, 20}, {2, 1000}, {3, 16}, {8, 30}, {40, 1}}) {
          CAPTURE(normalise);
          CAPTURE(policy);
          CAPTURE(split.first);
          const auto [split_loss, split_gradients] = train(split.first, split.second);
          CHECK(split_loss == Approx(loss).epsilon(1e-14));  // sums of some 60 doubles in another order
          CHECK(split_gradients == gradients);
        }
      }
    }
  }
}

}  // namespace troupe
