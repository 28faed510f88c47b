#include "rewarders/reward.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "common/base/error.h"
#include "rewarders/reward_kinds.h"

namespace troupe {
namespace {

using Maker = std::unique_ptr<Reward> (*)(RewardParameters&);

const std::map<std::string, Maker>& makers() {
  static const std::map<std::string, Maker> kMakers = {
      {"arithmetic", make_arithmetic}, {"countdown", make_countdown}, {"exact", make_exact},
      {"format", make_format},         {"length", make_length},       {"math", make_math},
      {"overlong", make_overlong},     {"regex", make_regex},         {"repetition", make_repetition},
      {"tags", make_tags},
  };
  return kMakers;
}

std::unique_ptr<Reward> make_from(const RewardConfig& config, RewardParameters& parameters) {
  const auto maker = makers().find(config.kind);
  if (maker == makers().end()) {
    std::string known;
    for (const auto& [name, unused] : makers()) known += (known.empty() ? "" : ", ") + name;
    throw ConfigError("reward." + config.name + ".kind: unknown kind '" + config.kind + "'; known are " + known);
  }
  auto reward = maker->second(parameters);
  parameters.finish();
  return reward;
}

}  // namespace

std::unique_ptr<Reward> make_reward(const RewardConfig& config) {
  RewardParameters parameters(config);
  return make_from(config, parameters);
}

struct RewardSet::Component {
  std::string name;
  double weight;
  bool always;
  std::unique_ptr<Reward> reward;
};

RewardSet::RewardSet(const std::vector<RewardConfig>& configs) {
  for (const RewardConfig& config : configs) {
    RewardParameters parameters(config);
    const bool always = parameters.flag("always", false);
    components_.push_back({config.name, config.weight, always, make_from(config, parameters)});
  }
}

RewardSet::~RewardSet() = default;
RewardSet::RewardSet(RewardSet&&) noexcept = default;

Score RewardSet::score(const GradedItem& item) const {
  const std::string chosen = item.row.is_object() ? item.row.value("reward", "") : "";
  const bool known = std::any_of(components_.begin(), components_.end(), [&](const Component& c) { return c.name == chosen; });
  if (!chosen.empty() && !known) {
    throw ConfigError("the row asks for reward '" + chosen + "', but the configuration has no [reward." + chosen + "]");
  }
  Score score;
  double sum = 0;
  bool failed = false;
  for (const Component& component : components_) {
    if (!chosen.empty() && component.name != chosen && !component.always) continue;
    const auto start = std::chrono::steady_clock::now();
    const Grade grade = component.reward->grade(item);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    score.components.push_back({component.name, grade.value, grade.reason, took.count()});
    if (grade.value) {
      sum += component.weight * *grade.value;
    } else {
      failed = true;
    }
  }
  if (!failed) score.reward = sum;
  return score;
}

}  // namespace troupe
