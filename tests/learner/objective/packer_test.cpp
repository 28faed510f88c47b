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

// One group with completions of these lengths behind a prompt of 4 tokens.
std::vector<Trajectory> sharing_group(std::uint64_t number, const std::vector<std::int64_t>& completions) {
  std::vector<Trajectory> result;
  for (const std::int64_t tokens : completions) {
    result.push_back(trajectory(number, static_cast<std::uint32_t>(result.size()), 4, tokens));
  }
  return result;
}

// Tokens that the model reads of a micro-batch where neighbours of a group share their prompt.
std::int64_t shared_tokens(const std::vector<Trajectory>& micro_batch) {
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < micro_batch.size(); ++i) {
    const bool shares = i > 0 && micro_batch[i].group == micro_batch[i - 1].group;
    tokens += micro_batch[i].completion_tokens() + (shares ? 0 : micro_batch[i].prompt_tokens);
  }
  return tokens;
}

BatchConfig packing(int updates, int epochs, std::int64_t micro_tokens, bool share_prompts = false) {
  BatchConfig config;
  config.share_prompts = share_prompts;
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

  TEST_CASE("with shared prompts a group's sequences stay together, longest first, and its prompt counts once") {
    const StepBatch batch = batch_of({sharing_group(0, {1, 5}), sharing_group(1, {2, 6, 3})});

    // Group 1 has 4 + 11 tokens, group 0 4 + 6.
    CHECK(lengths_of(pack_step(batch, packing(1, 1, 25, true), 1)[0].updates.at(0)) == Lengths{{10, 7, 6, 9, 5}});
    CHECK(lengths_of(pack_step(batch, packing(1, 1, 24, true), 1)[0].updates.at(0)) == Lengths{{10, 7, 6}, {9, 5}});
    CHECK(lengths_of(pack_step(batch, packing(1, 1, 15, true), 1)[0].updates.at(0)) == Lengths{{10, 7, 6}, {9, 5}});
    // Group 1 no longer fits a micro-batch: 4 + 6 and 4 + 3 + 2.
    CHECK(lengths_of(pack_step(batch, packing(1, 1, 12, true), 1)[0].updates.at(0)) == Lengths{{9, 5}, {10}, {7, 6}});
    CHECK(lengths_of(pack_step(batch, packing(1, 1, 3, true), 1)[0].updates.at(0)) == Lengths{{10}, {9}, {7}, {6}, {5}});
  }

  TEST_CASE("a group is cut where its ranks would otherwise wait for one another") {
    // Whole, one rank would have 16 tokens and the other none.
    auto plans = pack_step(batch_of({sharing_group(0, {6, 6})}), packing(1, 1, 100, true), 2);
    CHECK(lengths_of(plans[0].updates.at(0)) == Lengths{{10}});
    CHECK(lengths_of(plans[1].updates.at(0)) == Lengths{{10}});

    // Whole groups of 12 tokens fill the ranks with 24 and 12; cut into pieces of 8 the fullest would have 24 as well.
    plans = pack_step(batch_of({sharing_group(0, {4, 4}), sharing_group(1, {4, 4}), sharing_group(2, {4, 4})}), packing(1, 1, 100, true), 2);
    CHECK(lengths_of(plans[0].updates.at(0)) == Lengths{{8, 8, 8, 8}});
    CHECK(lengths_of(plans[1].updates.at(0)) == Lengths{{8, 8}});

    // Whole groups of 20 tokens: 40 and 20, pieces of 12: 36 each.
    plans = pack_step(batch_of({sharing_group(0, {8, 8}), sharing_group(1, {8, 8}), sharing_group(2, {8, 8})}), packing(1, 1, 100, true), 2);
    CHECK(lengths_of(plans[0].updates.at(0)) == Lengths{{12, 12, 12}});
    CHECK(lengths_of(plans[1].updates.at(0)) == Lengths{{12, 12, 12}});
  }

  TEST_CASE("with shared prompts, too, each sequence is trained once within the budget, and no rank reads more than without") {
    std::vector<std::vector<Trajectory>> groups;
    for (std::uint64_t g = 0; g < 11; ++g) {
      std::vector<std::int64_t> completions;
      for (std::uint64_t s = 0; s < 6; ++s) completions.push_back(static_cast<std::int64_t>(1 + (g * 31 + s * 17) % 43));
      groups.push_back(sharing_group(g, completions));
    }
    const StepBatch batch = batch_of(groups);

    for (const int world : {1, 2, 3, 8}) {
      CAPTURE(world);
      const auto plans = pack_step(batch, packing(1, 1, 64, true), world), plain = pack_step(batch, packing(1, 1, 64), world);
      CHECK(plans == pack_step(batch, packing(1, 1, 64, true), world));
      std::set<std::pair<std::uint64_t, std::uint32_t>> seen;
      std::int64_t fullest = 0, fullest_plain = 0;
      for (std::size_t rank = 0; rank < plans.size(); ++rank) {
        std::int64_t tokens = 0, tokens_plain = 0;
        for (const auto& micro_batch : plans[rank].updates.at(0).micro_batches) {
          for (const Trajectory& t : micro_batch) CHECK(seen.emplace(t.group, t.sample).second);
          CHECK(shared_tokens(micro_batch) <= 64);
          tokens += shared_tokens(micro_batch);
        }
        for (const auto& micro_batch : plain[rank].updates.at(0).micro_batches) {
          for (const Trajectory& t : micro_batch) tokens_plain += static_cast<std::int64_t>(t.ids.size());
        }
        fullest = std::max(fullest, tokens);
        fullest_plain = std::max(fullest_plain, tokens_plain);
        CHECK(plans[rank].updates.at(0).global_tokens == plain[rank].updates.at(0).global_tokens);
      }
      CHECK(seen.size() == 11 * 6);
      CHECK(fullest < fullest_plain);
    }
  }

  TEST_CASE("a plan without ranks or updates is a bug") {
    CHECK_THROWS_AS(pack_step(batch_of({}), packing(1, 1, 10), 0), InternalError);
    CHECK_THROWS_AS(pack_step(batch_of({}), packing(0, 1, 10), 1), InternalError);
    CHECK_THROWS_AS(pack_step(batch_of({}), packing(1, 0, 10), 1), InternalError);
  }
}

}  // namespace troupe
