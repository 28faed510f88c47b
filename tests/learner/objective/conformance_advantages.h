#pragma once

// Published advantages against ours. A comment says which convention is theirs where it is not ours.

#include <map>
#include <optional>
#include <utility>

#include "learner/objective/advantage.h"
#include "tests/learner/objective/conformance_case.h"

namespace troupe::test {

// The advantages of rewards that are told apart by group ids, in their order.
inline Numbers grouped_advantages(const char* kind, const json& in) {
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

inline Numbers scaled(Numbers values, double factor) {
  for (double& value : values) value *= factor;
  return values;
}

// Ours: the population's std. Theirs: n - 1, so ours times sqrt((n - 1) / n) must be theirs.
inline void grpo_unbiased(const Case& c) {
  std::map<json, double> size;
  for (const json& id : c.in.at("group_ids")) ++size[id];
  const double n = size.begin()->second;
  c.same(scaled(grouped_advantages("grpo", c.in), std::sqrt((n - 1) / n)), numbers(c.out.at("advantage")));
}

// Baseline = reward - advantage. Not checked: their std (RLOO divides by none) and the baseline of a masked sample
// (ours has none).
inline void leave_one_out_baseline(const Case& c) {
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
inline void batch_leave_one_out(const Case& c) {
  const Numbers values = numbers(c.in.at("values"));
  const Numbers found = grouped_advantages("rloo", {{"rewards", values}});
  if (values.size() == 1) {
    CHECK(found[0] == 0);
  } else {
    c.same(found, numbers(c.out.at("normalized")));
  }
}

inline void batch_normalisation_of_equals(const Case& c) {
  c.same(grouped_advantages("reinforce_pp", {{"rewards", numbers(c.in.at("values"))}}),
         numbers(c.out.at("normalized")));
}

// 0, 1, 2 have the unbiased std 1, so normalised by it the outer ones are ±1; ours are larger by the ratio.
inline void batch_normalisation_ratio(const Case& c) {
  const Numbers found = grouped_advantages("reinforce_pp", {{"rewards", numbers(c.in.at("values"))}});
  const double ratio = c.out.begin()->get<double>();
  c.same(found, {-ratio, 0, ratio});
}

inline void mean_only(const Case& c) {
  const Numbers found = grouped_advantages("no_std", c.in);
  if (c.out.contains("sum")) c.same(std::accumulate(found.begin(), found.end(), 0.0), c.out.at("sum"));
  if (c.out.contains("advantage")) c.same(found, numbers(c.out.at("advantage")));
}

// Relational there (two implementations agree). Of two rewards each is one std from the mean, however close they are.
inline void low_variance(const Case& c) { c.same(grouped_advantages("grpo", c.in), {-1, 1, -1, 1}); }

inline void cs336_group_advantage(const Case& c) {
  const std::size_t size = c.in.at("group_size");
  const bool by_std = c.in.at("normalize_by_std");
  json in = {{"rewards", c.in.at("rewards")}, {"group_ids", json::array()}};
  for (std::size_t i = 0; i < c.in.at("rewards").size(); ++i) in["group_ids"].push_back(i / size);
  const auto n = static_cast<double>(size);
  const double unbiased = by_std ? std::sqrt((n - 1) / n) : 1;  // their eps of 1e-6 is within the tolerance
  c.same(scaled(grouped_advantages(by_std ? "grpo" : "no_std", in), unbiased), numbers(c.out.at("normalized_rewards")));
}

}  // namespace troupe::test
