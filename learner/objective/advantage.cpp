#include "learner/objective/advantage.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "common/base/error.h"

namespace troupe {

namespace {

std::vector<double> present(std::span<const std::optional<double>> rewards) {
  std::vector<double> values;
  for (const auto& reward : rewards) {
    if (reward) values.push_back(*reward);
  }
  return values;
}

bool equal_up_to_rounding(const std::vector<double>& values) {
  if (values.size() < 2) return true;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return *high - *low <= 1e-12 + 1e-9 * std::abs(*high);
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// In two passes: E[x^2] - E[x]^2 would cancel for rewards that are close together.
double population_std(const std::vector<double>& values, double mean) {
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// Each value present becomes (value - mean) * scale(values, mean); all become 0 where they are equal.
template <class Scale>
GroupAdvantages centred(std::span<const std::optional<double>> rewards, Scale scale) {
  const std::vector<double> values = present(rewards);
  const bool equal = equal_up_to_rounding(values);
  const double mean = equal ? 0 : mean_of(values);
  const double factor = equal ? 0 : scale(values, mean);

  GroupAdvantages result(rewards.size());
  for (std::size_t i = 0; i < rewards.size(); ++i) {
    if (rewards[i]) result[i] = equal ? 0 : (*rewards[i] - mean) * factor;
  }
  return result;
}

double by_std(const std::vector<double>& values, double mean) { return 1 / population_std(values, mean); }
double as_is(const std::vector<double>&, double) { return 1; }
double leave_one_out(const std::vector<double>& values, double) {
  const auto n = static_cast<double>(values.size());
  return n / (n - 1);
}

template <class Scale>
std::vector<GroupAdvantages> by_group(const std::vector<GroupRewards>& step, Scale scale) {
  std::vector<GroupAdvantages> result;
  for (const GroupRewards& group : step) result.push_back(centred(group, scale));
  return result;
}

// Normalised over the step as if it were one group.
std::vector<GroupAdvantages> by_step(const std::vector<GroupRewards>& step) {
  GroupRewards all;
  for (const GroupRewards& group : step) all.insert(all.end(), group.begin(), group.end());
  const GroupAdvantages flat = centred(all, by_std);

  std::vector<GroupAdvantages> result;
  auto next = flat.begin();
  for (const GroupRewards& group : step) {
    const auto end = next + static_cast<std::ptrdiff_t>(group.size());
    result.emplace_back(next, end);
    next = end;
  }
  return result;
}

}  // namespace

std::vector<GroupAdvantages> advantages(std::string_view kind, const std::vector<GroupRewards>& step) {
  if (kind == "grpo") return by_group(step, by_std);
  if (kind == "no_std") return by_group(step, as_is);
  if (kind == "rloo") return by_group(step, leave_one_out);
  if (kind == "reinforce_pp") return by_step(step);
  if (kind == "reinforce_pp_baseline") return by_step(by_group(step, as_is));
  if (kind == "gae") return step;
  throw ConfigError("loss.advantage: expected grpo, no_std, rloo, reinforce_pp, reinforce_pp_baseline or gae, found \"" +
                    std::string(kind) + "\"");
}

bool rewards_are_equal(std::span<const std::optional<double>> rewards) {
  return equal_up_to_rounding(present(rewards));
}

double overlong_penalty(std::int64_t tokens, std::int64_t max_tokens, std::int64_t buffer, double penalty) {
  if (buffer <= 0) return 0;
  const std::int64_t over = std::clamp<std::int64_t>(tokens - (max_tokens - buffer), 0, buffer);
  return -penalty * static_cast<double>(over) / static_cast<double>(buffer);
}

}  // namespace troupe
