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
      {"arithmetic", make_arithmetic}, {"code", make_code},           {"countdown", make_countdown}, {"exact", make_exact},
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

std::string needed_gold(const nlohmann::json& row, const std::string& kind) {
  std::string gold = gold_of(row);
  if (!gold.empty()) return gold;
  throw ConfigError("a reward of kind " + kind + " expects an answer under \"gold\" or \"answer\", found the keys " + keys_of(row));
}

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

std::vector<bool> RewardSet::chosen_by(const nlohmann::json& row) const {
  const nlohmann::json asked = row.is_object() ? row.value("reward", nlohmann::json("")) : nlohmann::json("");
  if (!asked.is_string()) throw ConfigError(std::string("\"reward\": expected a string, found ") + asked.type_name());
  const std::string chosen = asked;
  const bool known = std::any_of(components_.begin(), components_.end(), [&](const Component& c) { return c.name == chosen; });
  if (!chosen.empty() && !known) {
    throw ConfigError("the row asks for reward '" + chosen + "', but the configuration has no [reward." + chosen + "]");
  }
  std::vector<bool> graded;
  for (const Component& c : components_) graded.push_back(chosen.empty() || c.name == chosen || c.always);
  return graded;
}

void RewardSet::check_row(const nlohmann::json& row) const {
  const std::vector<bool> chosen = chosen_by(row);
  for (std::size_t i = 0; i < components_.size(); ++i) {
    if (!chosen[i]) continue;
    try {
      components_[i].reward->check_row(row);
    } catch (const ConfigError& error) {
      throw ConfigError("[reward." + components_[i].name + "]: " + error.what());
    }
  }
}

Score RewardSet::score(const GradedItem& item) const {
  const std::vector<bool> chosen = chosen_by(item.row);
  Score score;
  double sum = 0;
  bool failed = false;
  for (std::size_t i = 0; i < components_.size(); ++i) {
    if (!chosen[i]) continue;
    const Component& component = components_[i];
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

void check_gradable(const RewardSet& rewards, const RowSource& rows) {
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    const Row row = rows.in_order(i);
    try {
      rewards.check_row(row.json);
    } catch (const ConfigError& error) {
      throw ConfigError(row.where + ": " + error.what());
    }
  }
}

void check_gradable(const Config& config) {
  const RewardSet rewards(config.rewards);
  for (const std::string& spec : {config.data.train, config.data.eval}) {
    if (!spec.empty()) check_gradable(rewards, *open_rows(spec, config.run.seed));
  }
}

}  // namespace troupe
