#include "learner/objective/packer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "common/base/error.h"

namespace troupe {
namespace {

Trajectory trajectory(std::uint64_t group, std::uint32_t sample, std::int64_t prompt_tokens,
                      std::int64_t completion_tokens) {
  Trajectory result;
  result.group = group;
  result.sample = sample;
  result.prompt_tokens = prompt_tokens;
  result.ids.assign(static_cast<std::size_t>(prompt_tokens + completion_tokens), static_cast<std::int32_t>(sample));
  result.sampler_logprobs.assign(static_cast<std::size_t>(completion_tokens), -1);
  result.versions.assign(static_cast<std::size_t>(completion_tokens), 3);
  return result;
}

// One group with a trajectory of each length (a prompt token included).
std::vector<Trajectory> group_of(std::uint64_t number, const std::vector<std::int64_t>& lengths) {
  std::vector<Trajectory> result;
  for (const std::int64_t length : lengths) {
    result.push_back(trajectory(number, static_cast<std::uint32_t>(result.size()), 1, length - 1));
  }
  return result;
}

// Lengths of the trajectories of each micro-batch.
std::vector<std::vector<std::int64_t>> lengths_of(const UpdateShard& shard) {
  std::vector<std::vector<std::int64_t>> result;
  for (const auto& micro_batch : shard.micro_batches) {
    result.emplace_back();
    for (const Trajectory& t : micro_batch) result.back().push_back(static_cast<std::int64_t>(t.ids.size()));
  }
  return result;
}

using Lengths = std::vector<std::vector<std::int64_t>>;

StepBatch batch_of(std::vector<std::vector<Trajectory>> groups) {
  StepBatch batch;
  batch.step = 7;
  batch.groups = std::move(groups);
  return batch;
}

BatchConfig packing(int updates, int epochs, std::int64_t micro_tokens) {
  BatchConfig config;
  config.updates = updates;
  config.epochs = epochs;
  config.micro_tokens = micro_tokens;
  return config;
}

}  // namespace

TEST_SUITE("objective/packer") {
  TEST_CASE("the longest sequences go first, each to the rank with the fewest tokens") {
    // 9 to rank 0, 6 to 1, 5 to 1 (11), 4 to 0 (13), 3 to 1 (14), 2 to 0 (15)
    const auto plans = pack_step(batch_of({group_of(0, {2, 9, 4}), group_of(1, {6, 3, 5})}), packing(1, 1, 100), 2);

    REQUIRE(plans.size() == 2);
    CHECK(lengths_of(plans[0].updates.at(0)) == Lengths{{9, 4, 2}});
    CHECK(lengths_of(plans[1].updates.at(0)) == Lengths{{6, 5, 3}});
    CHECK(plans[0].step == 7);
    CHECK(plans[1].step == 7);
  }

  TEST_CASE("sequences of equal length keep the batch's order, and equal loads fill the lowest rank first") {
    const auto plans = pack_step(batch_of({group_of(0, {4, 4}), group_of(1, {4, 4})}), packing(1, 1, 100), 2);

    const auto& first = plans[0].updates.at(0).micro_batches.at(0);
    const auto& second = plans[1].updates.at(0).micro_batches.at(0);
    CHECK((first.at(0).group == 0 && first.at(0).sample == 0));
    CHECK((first.at(1).group == 1 && first.at(1).sample == 0));
    CHECK((second.at(0).group == 0 && second.at(0).sample == 1));
    CHECK((second.at(1).group == 1 && second.at(1).sample == 1));
  }

  TEST_CASE("micro-batches fill up to the token budget, and a longer sequence is one of its own") {
    const auto plans = pack_step(batch_of({group_of(0, {12, 6, 4, 3, 2, 2})}), packing(1, 1, 10), 1);

    CHECK(lengths_of(plans[0].updates.at(0)) == Lengths{{12}, {6, 4}, {3, 2, 2}});
  }

  TEST_CASE("updates take whole groups in batch order, epochs repeat them") {
    // Five groups in two updates: floor(2 g / 5) = 0 0 0 1 1
    const auto plans =
        pack_step(batch_of({group_of(0, {2}), group_of(1, {2}), group_of(2, {2}), group_of(3, {2}), group_of(4, {2})}),
                  packing(2, 3, 100), 1);

    REQUIRE(plans[0].updates.size() == 6);
    std::vector<std::uint64_t> groups;
    for (const UpdateShard& update : plans[0].updates) {
      for (const Trajectory& t : update.micro_batches.at(0)) groups.push_back(t.group);
    }
    CHECK(groups == std::vector<std::uint64_t>{0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4});
    CHECK(plans[0].updates[0].micro_batches[0].size() == 3);
    CHECK(plans[0].updates[4] == plans[0].updates[0]);
  }

  TEST_CASE("the counts are those of the whole update on every rank, completion tokens only") {
    // Lengths with one prompt token each: update 0 trains 1 + 8 + 3 tokens, update 1 trains 5.
    const auto plans = pack_step(batch_of({group_of(0, {2, 9, 4}), group_of(1, {6})}), packing(2, 1, 100), 3);

    for (const StepPlan& plan : plans) {
      CHECK(plan.updates.at(0).global_sequences == 3);
      CHECK(plan.updates.at(0).global_tokens == 12);
      CHECK(plan.updates.at(1).global_sequences == 1);
      CHECK(plan.updates.at(1).global_tokens == 5);
    }
    CHECK(plans[1].updates[1].micro_batches.empty());
  }

  TEST_CASE("an update of which nothing trains is there, and empty") {
    const auto plans = pack_step(batch_of({{}, group_of(1, {3})}), packing(2, 1, 100), 2);

    REQUIRE(plans[0].updates.size() == 2);
    CHECK(plans[0].updates[0] == UpdateShard{});
    CHECK(plans[1].updates[0] == UpdateShard{});
    CHECK(pack_step(batch_of({}), packing(1, 1, 100), 1).at(0).updates.at(0) == UpdateShard{});
  }

  TEST_CASE("every world size trains each sequence exactly once, and ranks differ by less than the longest sequence") {
    std::vector<std::vector<Trajectory>> groups;
    std::int64_t longest = 0;
    for (std::uint64_t g = 0; g < 13; ++g) {
      std::vector<std::int64_t> lengths;
      for (std::uint64_t s = 0; s < 7; ++s) lengths.push_back(static_cast<std::int64_t>(2 + (g * 31 + s * 17) % 43));
      longest = std::max(longest, *std::max_element(lengths.begin(), lengths.end()));
      groups.push_back(group_of(g, lengths));
    }
    const StepBatch batch = batch_of(groups);

    for (const int world : {1, 2, 3, 8}) {
      CAPTURE(world);
      const auto plans = pack_step(batch, packing(1, 1, 64), world);
      CHECK(plans == pack_step(batch, packing(1, 1, 64), world));
      std::set<std::pair<std::uint64_t, std::uint32_t>> seen;
      std::vector<std::int64_t> loads;
      for (const StepPlan& plan : plans) {
        loads.push_back(0);
        for (const auto& micro_batch : plan.updates.at(0).micro_batches) {
          std::int64_t tokens = 0;
          for (const Trajectory& t : micro_batch) {
            CHECK(seen.emplace(t.group, t.sample).second);
            tokens += static_cast<std::int64_t>(t.ids.size());
          }
          CHECK(tokens <= 64);
          loads.back() += tokens;
        }
      }
      CHECK(seen.size() == 13 * 7);
      CHECK(*std::max_element(loads.begin(), loads.end()) - *std::min_element(loads.begin(), loads.end()) < longest);
    }
  }

  TEST_CASE("a plan without ranks or updates is a bug") {
    CHECK_THROWS_AS(pack_step(batch_of({}), packing(1, 1, 10), 0), InternalError);
    CHECK_THROWS_AS(pack_step(batch_of({}), packing(0, 1, 10), 1), InternalError);
    CHECK_THROWS_AS(pack_step(batch_of({}), packing(1, 0, 10), 1), InternalError);
  }
}

}  // namespace troupe
