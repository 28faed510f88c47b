// What other trainers compute (tests/parity/rl_numeric_cases.md). Every row is either checked, by its number or, where
// its convention is not ours, by a relation derived from ours; or its function is in kNotOurs with the reason. An
// unknown function fails.

#include <fstream>
#include <functional>
#include <map>

#include "learner/objective/packer.h"
#include "tests/learner/objective/conformance_advantages.h"
#include "tests/learner/objective/conformance_losses.h"

namespace troupe::test {
namespace {

const std::map<std::string, std::string> kNotOurs = {
    {"gdpo_advantage", "one advantage a reward component; no loss.advantage option"},
    {"maxrl_advantage", "division by the mean; no loss.advantage option"},
    {"approx_entropy", "an estimate from samples; ours is the exact entropy of token_logprobs"},
    {"token_entropy", "computed beside the log-probabilities, in common/model"},
    {"sequence_logprob_error_mask", "mismatch is corrected by loss.tis_cap and reported, not masked"},
    {"high_entropy_token_mask", "all tokens train"},
    {"off_policy_sequence_mask", "staleness is bounded by run.max_lag"},
    {"doc_lens_from_packed_attention_mask", "sequences are told apart by offsets, not by a mask"},
    {"gae_multi_turn", "no value function"},
    {"grpo_multi_trajectory", "a completion is one trajectory"},
    {"tokenize_prompt_and_output", "tests/common/tokenizer"},
};

// ---- means, and sums over a constant ----

void mean_over(const Case& c, const char* normalise, const char* key, const char* values = "values") {
  const Numbers weight = weights(normalise, numbers(c.in.at("mask")), row_lengths(c.in.at("mask")));
  c.same(weighted_sum(weight, numbers(c.in.at(values))), c.out.at(key));
}

// Theirs counts an empty row as a 0 in the mean over rows; ours leaves it out (as OpenRLHF's
// seq_mean_excludes_fully_masked).
void mean_of_row_means(const Case& c) {
  const json& mask = c.in.at("mask");
  double rows = 0;
  for (const json& row : mask) rows += std::find(row.begin(), row.end(), 1) != row.end() ? 1 : 0;
  const Numbers weight =
      scaled(weights("sequence_mean", numbers(mask), row_lengths(mask)), rows / static_cast<double>(mask.size()));
  c.same(weighted_sum(weight, numbers(c.in.at("values"))), c.out.at("mean"));
}

// The ranks' parts, each with the global counts, add up to the whole.
void over_ranks(const Case& c, const char* normalise) {
  const Numbers weight = weights(normalise, numbers(c.in.at("mask")), row_lengths(c.in.at("mask")));
  const Numbers loss = numbers(c.in.at("loss"));
  const std::vector<std::int64_t> offsets = offsets_of(row_lengths(c.in.at("mask")));
  double sum = 0;
  for (const json& rank : c.in.at("ranks")) {
    double part = 0;
    for (const std::size_t row : rank) {
      for (auto t = static_cast<std::size_t>(offsets[row]); t < static_cast<std::size_t>(offsets[row + 1]); ++t) {
        part += weight[t] * loss[t];
      }
    }
    sum += part;
  }
  c.same(sum, c.out.at("global"));
}

void over_micro_batches(const Case& c) {
  Numbers loss;
  Numbers mask;
  for (const json& micro_batch : c.in.at("micro_batches")) {
    flatten(micro_batch.at("loss"), loss);
    flatten(micro_batch.at("mask"), mask);
  }
  c.same(weighted_sum(weights("token_mean", mask, {static_cast<std::int64_t>(mask.size())}), loss), c.out.at("loss"));
}

// Each slice along `dim` of the [2, 10, 100] fixtures as an update of one sequence. Of nothing theirs is NaN, ours 0.
void over_slices(const Case& c, bool mean) {
  const Numbers values = numbers(c.in.at("tensor"));
  const Numbers mask = numbers(c.in.at("mask"));
  const Numbers expected = numbers(c.out.at("array"));
  const std::vector<std::size_t> shape = c.in.at("tensor").at("shape");
  std::size_t inner = 1;
  std::size_t width = values.size();
  if (!c.in.at("dim").is_null()) {
    const int dim = c.in.at("dim");
    const std::size_t axis = dim < 0 ? shape.size() - 1 : static_cast<std::size_t>(dim);
    width = shape[axis];
    for (std::size_t i = axis + 1; i < shape.size(); ++i) inner *= shape[i];
  }
  REQUIRE(expected.size() * width == values.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    Numbers slice;
    Numbers slice_mask;
    for (std::size_t k = 0; k < width; ++k) {
      const std::size_t at = (i / inner * width + k) * inner + i % inner;
      slice.push_back(values[at]);
      slice_mask.push_back(mask[at]);
    }
    const std::vector<std::int64_t> lengths = {static_cast<std::int64_t>(width)};
    const Numbers weight =
        mean ? weights("token_mean", slice_mask, lengths)
             : weights("dr_grpo", slice_mask, lengths, c.in.at("normalize_constant").get<std::int64_t>());
    c.same(weighted_sum(weight, slice), std::isnan(expected[i]) ? 0 : expected[i]);
  }
}

// Their masks of tool calls have no counterpart: a completion's tokens all train. Their packs are our micro-batches.
void packs(const Case& c) {
  StepBatch batch;
  batch.groups.emplace_back();
  for (std::size_t i = 0; i < c.in.at("queries").size(); ++i) {
    Trajectory trajectory;
    trajectory.ids = c.in.at("queries")[i].get<std::vector<std::int32_t>>();
    trajectory.prompt_tokens = static_cast<std::int64_t>(trajectory.ids.size());
    for (const json& id : c.in.at("responses")[i]) trajectory.ids.push_back(id);
    batch.groups.back().push_back(trajectory);
  }
  BatchConfig config;
  config.micro_tokens = c.in.at("pack_length");
  const auto plans = pack_step(batch, config, 1);
  json found = json::array();
  for (const auto& micro_batch : plans.at(0).updates.at(0).micro_batches) {
    json ids = json::array();
    for (const Trajectory& trajectory : micro_batch) {
      for (const std::int32_t id : trajectory.ids) ids.push_back(id);
    }
    found.push_back(ids);
  }
  CHECK(found == c.out.at("packs"));
}

Numbers cs336_mask_weights(const Case& c, const char* normalise) {
  const json& mask = c.in.at("response_mask");
  return weights(normalise, numbers(mask), row_lengths(mask),
                 static_cast<std::int64_t>(c.in.value("normalize_constant", 1.0)));
}

const std::map<std::string, std::function<void(const Case&)>> kChecks = {
    {"grpo_advantage", grpo_unbiased},
    {"leave_one_out_baseline_and_std", leave_one_out_baseline},
    {"batch_leave_one_out_centering", batch_leave_one_out},
    {"batch_normalization_degenerate", batch_normalisation_of_equals},
    {"batch_normalization_ratio", batch_normalisation_ratio},
    {"grpo_advantage_mean_only", mean_only},
    {"grpo_advantage_low_variance", low_variance},
    {"group_advantage", cs336_group_advantage},
    {"broadcast_advantage", broadcast},
    {"ppo_clip_loss", [](const Case& c) { token_mean_loss(c, "clip"); }},
    {"dual_clip_loss", [](const Case& c) { token_mean_loss(c, "clip"); }},
    {"reinforce_loss", [](const Case& c) { token_mean_loss(c, "reinforce"); }},
    {"cispo_loss", [](const Case& c) { token_mean_loss(c, "cispo"); }},
    {"gspo_loss", gspo},
    {"kl_estimator", kl_estimator},
    {"kl_penalty_loss", kl_penalty},
    {"kl_estimator_gradient", kl_gradient},
    {"ppo_clip_loss_with_generation_importance_weight", importance_weight},
    {"masked_loss", zero_mask},
    {"masked_nll", masked_nll},
    {"pg_loss_per_token", [](const Case& c) { cs336_per_token(c, "reinforce"); }},
    {"grpo_clip_loss_per_token", [](const Case& c) { cs336_per_token(c, "clip"); }},
    {"grpo_microbatch_step", [](const Case& c) { cs336_step(c, "clip", cs336_mask_weights(c, "sequence_mean")); }},
    {"sft_microbatch_step", [](const Case& c) { cs336_step(c, "reinforce", cs336_mask_weights(c, "dr_grpo")); }},
    {"masked_mean_per_sequence_then_batch", mean_of_row_means},
    {"masked_mean_tokens", [](const Case& c) { mean_over(c, "token_mean", "mean"); }},
    {"seq_mean_excludes_fully_masked", [](const Case& c) { mean_over(c, "sequence_mean", "loss", "loss"); }},
    {"dp_token_mean", [](const Case& c) { over_ranks(c, "token_mean"); }},
    {"dp_seq_mean_token_mean", [](const Case& c) { over_ranks(c, "sequence_mean"); }},
    {"grad_accum_global_token_mean", over_micro_batches},
    {"masked_mean", [](const Case& c) { over_slices(c, true); }},
    {"masked_normalize", [](const Case& c) { over_slices(c, false); }},
    {"pack_sequences", packs},
};

// Fixtures are rows of their own; "$name" in an input stands for them.
void fill_in(json& inputs, const std::map<std::string, json>& fixtures) {
  for (auto& [key, value] : inputs.items()) {
    if (value.is_string() && fixtures.contains(value.get<std::string>())) value = fixtures.at(value.get<std::string>());
  }
}

}  // namespace

TEST_SUITE("objective/conformance") {
  TEST_CASE("every published case agrees, by its number or by the relation of its convention to ours") {
    std::ifstream file(TROUPE_TEST_DATA "/parity/rl_numeric_cases.jsonl");
    std::map<std::string, json> fixtures;
    std::size_t checked = 0;
    std::size_t not_ours = 0;

    for (std::string line; std::getline(file, line);) {
      const json row = json::parse(line);
      const std::string id = row.at("id");
      INFO(id);
      if (row.contains("fixture")) {
        fixtures[id.substr(id.find('$'))] = row;
        continue;
      }
      const std::string function = row.at("function");
      const auto check = kChecks.find(function);
      if (check == kChecks.end()) {
        CHECK_MESSAGE(kNotOurs.contains(function), "neither checked nor in kNotOurs: ", function);
        ++not_ours;
        continue;
      }
      Case c{row.at("inputs"), row.at("expected"), row.at("rtol"), row.at("atol")};
      fill_in(c.in, fixtures);
      check->second(c);
      ++checked;
    }

    CHECK(fixtures.size() == 2);
    CHECK(checked == 68);
    CHECK(not_ours == 24);
  }
}

}  // namespace troupe::test
