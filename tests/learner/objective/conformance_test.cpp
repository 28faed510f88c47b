// What other trainers compute (tests/parity/rl_numeric_cases.md). Every row is either checked, by its number or, where its convention
// is not ours, by a relation derived from ours; or its function is in kNotOurs with the reason. An unknown function fails.

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "learner/objective/advantage.h"
#include "learner/objective/packer.h"
#include "learner/objective/token_weights.h"
#include "tests/learner/objective/loss_batch.h"

namespace troupe::test {
namespace {

using nlohmann::json;
using Numbers = std::vector<double>;

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

struct Case {
  json in;
  json out;
  double rtol = 0;
  double atol = 0;

  void same(double found, double expected) const {
    CAPTURE(found);
    CAPTURE(expected);
    CHECK(near(found, expected, rtol, atol));
  }
  void same(const Numbers& found, const Numbers& expected) const {
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) same(found[i], expected[i]);
  }
};

// Numbers of a list, nested or {"shape", "data"}, in order; null is NaN.
void flatten(const json& value, Numbers& result) {
  if (value.is_object()) return flatten(value.at("data"), result);
  if (!value.is_array()) return result.push_back(value.is_null() ? std::nan("") : value.get<double>());
  for (const json& item : value) flatten(item, result);
}
Numbers numbers(const json& value) {
  Numbers result;
  flatten(value, result);
  return result;
}
std::vector<float> floats(const json& value) {
  const Numbers wide = numbers(value);
  std::vector<float> result(wide.size());
  std::transform(wide.begin(), wide.end(), result.begin(), [](double x) { return static_cast<float>(x); });
  return result;
}
std::vector<std::int64_t> row_lengths(const json& value) {
  if (value.is_object()) return std::vector<std::int64_t>(value.at("shape").at(0), value.at("shape").at(1).get<std::int64_t>());
  std::vector<std::int64_t> lengths;
  for (const json& row : value) lengths.push_back(static_cast<std::int64_t>(row.size()));
  return lengths;
}
std::vector<std::int64_t> offsets_of(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int64_t> offsets(lengths.size() + 1, 0);
  std::partial_sum(lengths.begin(), lengths.end(), offsets.begin() + 1);
  return offsets;
}

LossConfig normalised(const char* kind) {
  LossConfig config;
  config.normalise = kind;
  return config;
}

// The weights of a masked [rows, tokens] update: rows without a token do not count.
Numbers weights(const char* normalise, const Numbers& mask, const std::vector<std::int64_t>& lengths, std::int64_t max_tokens = 1) {
  const std::vector<std::int64_t> offsets = offsets_of(lengths);
  std::vector<std::int64_t> tokens;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const auto begin = mask.begin() + offsets[i];
    tokens.push_back(std::count(begin, begin + lengths[i], 1.0));
  }
  const auto sequences = static_cast<std::int64_t>(std::count_if(tokens.begin(), tokens.end(), [](auto n) { return n > 0; }));
  const std::int64_t total = std::accumulate(tokens.begin(), tokens.end(), std::int64_t{0});
  Numbers result(mask.size(), 0);
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    for (auto t = static_cast<std::size_t>(offsets[i]); t < static_cast<std::size_t>(offsets[i + 1]); ++t) {
      if (mask[t] != 0) result[t] = token_weight(normalised(normalise), tokens[i], sequences, total, max_tokens);
    }
  }
  return result;
}

double weighted_sum(const Numbers& weight, const Numbers& values) {
  return std::inner_product(weight.begin(), weight.end(), values.begin(), 0.0);
}

// ---- advantages ----

// The advantages of rewards that are told apart by group ids, in their order.
Numbers grouped_advantages(const char* kind, const json& in) {
  std::vector<GroupRewards> step;
  std::map<json, std::size_t> places;
  std::vector<std::pair<std::size_t, std::size_t>> place_of;
  const json& rewards = in.at("rewards");
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    const json id = in.contains("group_ids") ? in.at("group_ids")[i] : json(0);
    const auto [place, added] = places.emplace(id, step.size());
    if (added) step.emplace_back();
    GroupRewards& group = step[place->second];
    const bool valid = !in.contains("valid_mask") || in.at("valid_mask")[i] == 1;
    place_of.emplace_back(place->second, group.size());
    group.push_back(valid ? std::optional<double>(rewards[i].get<double>()) : std::nullopt);
  }
  const auto result = advantages(kind, step);
  Numbers flat;
  for (const auto& [group, index] : place_of) flat.push_back(result[group][index].value_or(std::nan("")));
  return flat;
}

Numbers scaled(Numbers values, double factor) {
  for (double& value : values) value *= factor;
  return values;
}

// Ours: the population's std. Theirs: n - 1, so ours times sqrt((n - 1) / n) must be theirs.
void grpo_unbiased(const Case& c) {
  std::map<json, double> size;
  for (const json& id : c.in.at("group_ids")) ++size[id];
  const double n = size.begin()->second;
  c.same(scaled(grouped_advantages("grpo", c.in), std::sqrt((n - 1) / n)), numbers(c.out.at("advantage")));
}

// Baseline = reward - advantage. Not checked: their std (RLOO divides by none) and the baseline of a masked sample (ours has none).
void leave_one_out_baseline(const Case& c) {
  const Numbers advantage = grouped_advantages("rloo", c.in);
  for (std::size_t i = 0; i < advantage.size(); ++i) {
    if (c.in.at("valid_mask")[i] == 0) {
      CHECK(std::isnan(advantage[i]));
    } else {
      c.same(c.in.at("rewards")[i].get<double>() - advantage[i], c.out.at("baseline")[i].get<double>());
    }
  }
}

// A lone element: theirs keeps its value, ours is 0, since nothing is left to compare it with.
void batch_leave_one_out(const Case& c) {
  const Numbers values = numbers(c.in.at("values"));
  const Numbers found = grouped_advantages("rloo", {{"rewards", values}});
  if (values.size() == 1) {
    CHECK(found[0] == 0);
  } else {
    c.same(found, numbers(c.out.at("normalized")));
  }
}

void batch_normalisation_of_equals(const Case& c) {
  c.same(grouped_advantages("reinforce_pp", {{"rewards", numbers(c.in.at("values"))}}), numbers(c.out.at("normalized")));
}

// 0, 1, 2 have the unbiased std 1, so normalised by it the outer ones are ±1; ours are larger by the ratio.
void batch_normalisation_ratio(const Case& c) {
  const Numbers found = grouped_advantages("reinforce_pp", {{"rewards", numbers(c.in.at("values"))}});
  const double ratio = c.out.begin()->get<double>();
  c.same(found, {-ratio, 0, ratio});
}

void mean_only(const Case& c) {
  const Numbers found = grouped_advantages("no_std", c.in);
  if (c.out.contains("sum")) c.same(std::accumulate(found.begin(), found.end(), 0.0), c.out.at("sum"));
  if (c.out.contains("advantage")) c.same(found, numbers(c.out.at("advantage")));
}

// Relational there (two implementations agree). Of two rewards each is one std from the mean, however close they are.
void low_variance(const Case& c) { c.same(grouped_advantages("grpo", c.in), {-1, 1, -1, 1}); }

void cs336_group_advantage(const Case& c) {
  const std::size_t size = c.in.at("group_size");
  const bool by_std = c.in.at("normalize_by_std");
  json in = {{"rewards", c.in.at("rewards")}, {"group_ids", json::array()}};
  for (std::size_t i = 0; i < c.in.at("rewards").size(); ++i) in["group_ids"].push_back(i / size);
  const auto n = static_cast<double>(size);
  const double unbiased = by_std ? std::sqrt((n - 1) / n) : 1;  // their eps of 1e-6 is within the tolerance
  c.same(scaled(grouped_advantages(by_std ? "grpo" : "no_std", in), unbiased), numbers(c.out.at("normalized_rewards")));
}

// ---- per-token losses ----

LossBatch batch_of(const json& in) {
  LossBatch batch;
  batch.logp = floats(in.at("logp"));
  batch.advantage = in.contains("advantages") ? numbers(in.at("advantages")) : Numbers(batch.logp.size(), 0);
  if (in.contains("old_logp")) batch.old_logp = floats(in.at("old_logp"));
  if (in.value("force_ratio_1", false)) batch.old_logp = batch.logp;
  if (in.contains("generation_logp")) batch.sampler_logp = floats(in.at("generation_logp"));
  if (in.contains("ref_logp")) batch.ref_logp = floats(in.at("ref_logp"));
  return batch;
}

// The loss of each token alone (weight 1), with the sequence that it stands in for the ratio.
Numbers each_token(const LossConfig& config, const LossBatch& batch) {
  Numbers losses;
  for (std::size_t t = 0; t < batch.logp.size(); ++t) {
    LossBatch one{{batch.logp[t]}, {batch.advantage[t]}};
    if (!batch.old_logp.empty()) one.old_logp = {batch.old_logp[t]};
    if (!batch.sampler_logp.empty()) one.sampler_logp = {batch.sampler_logp[t]};
    if (!batch.ref_logp.empty()) one.ref_logp = {batch.ref_logp[t]};
    losses.push_back(one.loss(config).loss);
  }
  return losses;
}

void token_mean_loss(const Case& c, const char* policy) {
  LossConfig config = bare(policy);
  config.dual_clip = c.in.value("dual_clip_c", 0.0);
  LossBatch batch = batch_of(c.in);
  if (c.out.contains("loss_per_token")) c.same(each_token(config, batch), numbers(c.out.at("loss_per_token")));
  batch.weight = weights("token_mean", numbers(c.in.at("mask")), {static_cast<std::int64_t>(batch.logp.size())});
  c.same(batch.loss(config).loss, c.out.at("loss"));
}

void gspo(const Case& c) {
  LossBatch batch = batch_of(c.in);
  batch.offsets = offsets_of(row_lengths(c.in.at("mask")));
  batch.weight = weights("sequence_mean", numbers(c.in.at("mask")), row_lengths(c.in.at("mask")));
  const PolicyLoss found = batch.loss(bare("gspo"));
  c.same(found.loss, c.out.at("loss"));
  // Not clipped: the gradient is -w s A, so the first token of the first row shows the sequence's ratio.
  c.same(-static_cast<double>(found.grad_logp[0]) / batch.weight[0] / batch.advantage[0], c.out.at("seq_ratio")[0]);
}

// The KL alone: advantage 0, coefficient 1.
LossConfig kl_only(const std::string& kind) {
  LossConfig config;
  config.kl = kind;
  config.kl_coef = 1;
  return config;
}

// Ours clamps nothing: the row with clamps is met by clamping our input and our output here.
void kl_estimator(const Case& c) {
  LossBatch batch = batch_of(c.in);
  if (c.in.contains("input_clamp")) {
    const double bound = c.in.at("input_clamp");
    for (std::size_t t = 0; t < batch.logp.size(); ++t) {
      const double d = std::clamp<double>(batch.logp[t] - batch.ref_logp[t], -bound, bound);
      batch.ref_logp[t] = static_cast<float>(batch.logp[t] - d);
    }
  }
  Numbers found = each_token(kl_only(c.in.at("type")), batch);
  if (c.in.contains("output_clamp")) {
    const double bound = c.in.at("output_clamp");
    for (double& value : found) value = std::clamp(value, -bound, bound);
  }
  c.same(found, numbers(c.out.at("kl")));
}

void kl_penalty(const Case& c) {
  LossBatch batch = batch_of(c.in);
  c.same(each_token(kl_only(c.in.at("type")), batch), numbers(c.out.at("kl_per_token")));
  LossConfig config = kl_only(c.in.at("type"));
  config.kl_coef = c.in.at("beta");
  batch.weight = weights("token_mean", numbers(c.in.at("mask")), {3});
  const PolicyLoss found = batch.loss(config);
  c.same(found.loss, c.out.at("loss"));
  c.same(found.metrics.kl_sum / 3, c.out.at("kl_mean"));
}

// Theirs also weighs the KL, by exp(logp - generation_logp); ours leaves it as DeepSeekMath's: the ratio of the two is that weight.
void importance_weight(const Case& c) {
  LossConfig config = bare();
  config.tis_cap = 100;  // acts on none of them
  LossBatch batch = batch_of(c.in);
  c.same(each_token(config, batch), numbers(c.out.at("weighted_loss_per_token")));
  batch.weight = weights("token_mean", numbers(c.in.at("mask")), {3});
  c.same(batch.loss(config).loss, c.out.at("actor_loss"));

  LossBatch kl = batch_of(c.in);
  kl.advantage.assign(3, 0);
  const Numbers found = each_token(kl_only("k3"), kl);
  c.same(found, numbers(c.out.at("kl_per_token")));
  for (std::size_t t = 0; t < 3; ++t) c.same(found[t] * c.out.at("kl_weight")[t].get<double>(), c.out.at("weighted_kl_per_token")[t]);
}

// Theirs: d/dlogp of sg-weighted exp(logp - sg[logp]) k3 = k3 + k3', and a clamp at 2 that holds the first token. Ours has neither: for
// the second token, our slope plus our value must be theirs.
void kl_gradient(const Case& c) {
  LossBatch batch = batch_of(c.in);
  batch.logp.erase(batch.logp.begin());
  batch.ref_logp.erase(batch.ref_logp.begin());
  batch.advantage = {0};
  const PolicyLoss found = batch.loss(kl_only(c.in.at("type")));
  c.same(found.loss, c.out.at("kl")[1]);
  c.same(found.loss + static_cast<double>(found.grad_logp[0]), c.out.at("grad_logp_of_sum")[1]);
}

void zero_mask(const Case& c) {
  LossBatch batch{std::vector<float>(3, NAN), Numbers(3, NAN)};
  batch.weight = numbers(c.in.at("mask"));
  CHECK(batch.loss(bare()).loss == c.out.at("loss").get<double>());
}

// Each token's own advantage is -dloss/dlogp of plain REINFORCE.
void broadcast(const Case& c) {
  LossBatch batch{{-1, -1, -1}, Numbers(3, c.in.at("advantage").get<double>())};
  batch.weight = numbers(c.in.at("trainable_mask"));
  const PolicyLoss found = batch.loss(bare("reinforce"));
  for (std::size_t t = 0; t < 3; ++t) {
    CHECK(found.grad_logp[t] == doctest::Approx(-c.out.at("per_token")[t].get<double>()).epsilon(1e-7));  // float
  }
}

void masked_nll(const Case& c) {
  LossBatch batch{floats(c.in.at("logp")), {1, 1, 1}};
  batch.weight = scaled(numbers(c.in.at("weights")), 1 / c.in.at("scale").get<double>());
  c.same(batch.loss(bare("reinforce")).loss, c.out.at("loss"));
}

// ---- CS336: [2, 10] rows, one advantage a row ----

LossBatch cs336_batch(const Case& c) {
  LossBatch batch;
  batch.logp = floats(c.in.at("policy_log_probs"));
  const Numbers advantage = c.in.contains("advantages") ? numbers(c.in.at("advantages")) : Numbers(2, 1);
  for (const double value : advantage) batch.advantage.insert(batch.advantage.end(), batch.logp.size() / 2, value);
  if (c.in.contains("old_log_probs")) batch.old_logp = floats(c.in.at("old_log_probs"));
  return batch;
}

LossConfig cs336_config(const Case& c, const char* policy) {
  LossConfig config = bare(policy);
  config.clip_low = config.clip_high = c.in.value("cliprange", 0.2);
  return config;
}

void cs336_per_token(const Case& c, const char* policy) {
  c.same(each_token(cs336_config(c, policy), cs336_batch(c)), numbers(c.out.at("array")));
}

void cs336_step(const Case& c, const char* policy, const Numbers& weight) {
  LossBatch batch = cs336_batch(c);
  batch.offsets = {0, 10, 20};
  batch.weight = scaled(weight, 1 / c.in.at("gradient_accumulation_steps").get<double>());
  const PolicyLoss found = batch.loss(cs336_config(c, policy));
  c.same(found.loss, numbers(c.out.at("loss")).at(0));
  c.same(Numbers(found.grad_logp.begin(), found.grad_logp.end()), numbers(c.out.at("policy_log_probs_grad")));
}

// ---- means, and sums over a constant ----

void mean_over(const Case& c, const char* normalise, const char* key, const char* values = "values") {
  const Numbers weight = weights(normalise, numbers(c.in.at("mask")), row_lengths(c.in.at("mask")));
  c.same(weighted_sum(weight, numbers(c.in.at(values))), c.out.at(key));
}

// Theirs counts an empty row as a 0 in the mean over rows; ours leaves it out (as OpenRLHF's seq_mean_excludes_fully_masked).
void mean_of_row_means(const Case& c) {
  const json& mask = c.in.at("mask");
  double rows = 0;
  for (const json& row : mask) rows += std::find(row.begin(), row.end(), 1) != row.end() ? 1 : 0;
  const Numbers weight = scaled(weights("sequence_mean", numbers(mask), row_lengths(mask)), rows / static_cast<double>(mask.size()));
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
    const Numbers weight = mean ? weights("token_mean", slice_mask, lengths)
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
  return weights(normalise, numbers(mask), row_lengths(mask), static_cast<std::int64_t>(c.in.value("normalize_constant", 1.0)));
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
