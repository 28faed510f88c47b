#include "rewarders/reward.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <numeric>

#include "common/base/error.h"
#include "rewarders/reward_kinds.h"

namespace troupe {
namespace {

using Maker = std::unique_ptr<Reward> (*)(RewardParameters&);

const std::map<std::string, Maker>& makers() {
  static const std::map<std::string, Maker> kMakers = {
      {"arithmetic", make_arithmetic},
      {"code", make_code},
      {"countdown", make_countdown},
      {"exact", make_exact},
      {"external", make_external},
      {"format", make_format},
      {"json", make_json},
      {"judge", make_judge},
      {"language", make_language},
      {"length", make_length},
      {"math", make_math},
      {"model", make_model},
      {"overlong", make_overlong},
      {"readability", make_readability},
      {"regex", make_regex},
      {"repetition", make_repetition},
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

std::vector<RewardConfig> placed_rewards(const Config& config) {
  std::vector<RewardConfig> rewards = config.rewards;
  for (RewardConfig& reward : rewards) {
    if (reward.kind == "model") reward.parameters.try_emplace("device", config.rewarders.device);
  }
  return rewards;
}

std::unique_ptr<Reward> make_reward(const RewardConfig& config) {
  RewardParameters parameters(config);
  return make_from(config, parameters);
}

struct RewardSet::Component {
  std::string name;
  double weight;
  double clip_low;
  double clip_high;
  bool always;
  std::optional<std::size_t> gate;
  std::unique_ptr<Reward> reward;
};

RewardSet::RewardSet(const std::vector<RewardConfig>& configs) {
  constexpr double kAny = std::numeric_limits<double>::max();
  for (const RewardConfig& config : configs) {
    RewardParameters parameters(config);
    const bool always = parameters.flag("always", false);
    const double low = parameters.number("clip_low", -kAny, -kAny, kAny);
    const double high = parameters.number("clip_high", kAny, low, kAny);
    const std::string gate = parameters.text("gate", "");
    const auto found = std::find_if(configs.begin(), configs.end(), [&](const RewardConfig& other) { return other.name == gate; });
    if (!gate.empty() && (found == configs.end() || gate == config.name)) {
      throw ConfigError("reward." + config.name + ".gate: expected the name of another [reward.NAME] section, found '" + gate + "'");
    }
    const auto place = gate.empty() ? std::nullopt : std::optional(static_cast<std::size_t>(found - configs.begin()));
    components_.push_back({config.name, config.weight, low, high, always, place, make_from(config, parameters)});
  }
}

RewardSet::~RewardSet() = default;
RewardSet::RewardSet(RewardSet&&) noexcept = default;

std::vector<std::string> RewardSet::prepare() {
  std::vector<std::string> said;
  for (Component& component : components_) {
    const std::string line = component.reward->prepare();
    if (!line.empty()) said.push_back("reward." + component.name + ": " + line);
  }
  return said;
}

double RewardSet::extra_s() const {
  return std::accumulate(components_.begin(), components_.end(), 0.0,
                         [](double sum, const Component& component) { return sum + component.reward->extra_s(); });
}

bool RewardSet::batches() const {
  return std::any_of(components_.begin(), components_.end(), [](const Component& component) { return component.reward->batches(); });
}

std::vector<bool> RewardSet::chosen_by(const nlohmann::json& row) const {
  const nlohmann::json asked = row.is_object() ? row.value("reward", nlohmann::json("")) : nlohmann::json("");
  if (asked == "") return std::vector<bool>(components_.size(), true);
  std::vector<bool> chosen;
  for (const Component& component : components_) chosen.push_back(component.always);
  for (const nlohmann::json& name : asked.is_array() ? asked : nlohmann::json::array({asked})) {
    if (!name.is_string()) throw ConfigError(std::string("\"reward\": expected a string or a list of strings, found ") + asked.dump());
    const auto found = std::find_if(components_.begin(), components_.end(), [&](const Component& c) { return name == c.name; });
    if (found == components_.end()) {
      const std::string text = name;
      throw ConfigError("the row asks for reward '" + text + "', but the configuration has no [reward." + text + "]");
    }
    chosen[static_cast<std::size_t>(found - components_.begin())] = true;
  }
  return chosen;
}

std::vector<bool> RewardSet::with_gates(std::vector<bool> chosen) const {
  std::vector<bool> graded = chosen;
  for (std::size_t i = 0; i < components_.size(); ++i) {
    if (chosen[i] && components_[i].gate) graded[*components_[i].gate] = true;
  }
  return graded;
}

void RewardSet::check_row(const nlohmann::json& row) const {
  const std::vector<bool> graded = with_gates(chosen_by(row));
  for (std::size_t i = 0; i < components_.size(); ++i) {
    if (!graded[i]) continue;
    try {
      components_[i].reward->check_row(row);
    } catch (const ConfigError& error) {
      throw ConfigError("[reward." + components_[i].name + "]: " + error.what());
    }
  }
}

/// One item on the way to its score.
struct RewardSet::Graded {
  std::vector<bool> chosen;
  std::vector<bool> graded;
  std::vector<std::optional<double>> values;  // one a component
  Score score;
};

Score RewardSet::score(const GradedItem& item) const { return score_all(std::span(&item, 1)).front(); }

std::vector<Score> RewardSet::score_all(std::span<const GradedItem> items) const {
  std::vector<Graded> all;
  for (const GradedItem& item : items) {
    const std::vector<bool> chosen = chosen_by(item.row);
    all.push_back({chosen, with_gates(chosen), std::vector<std::optional<double>>(components_.size()), {}});
  }
  for (std::size_t c = 0; c < components_.size(); ++c) {
    std::vector<GradedItem> its;
    std::vector<Graded*> owners;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (!all[i].graded[c]) continue;
      its.push_back(items[i]);
      owners.push_back(&all[i]);
    }
    if (its.empty()) continue;
    const auto start = std::chrono::steady_clock::now();
    const std::vector<Grade> grades = components_[c].reward->grade_all(its);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    for (std::size_t i = 0; i < its.size(); ++i) {
      owners[i]->score.components.push_back({components_[c].name, grades[i].value, grades[i].reason, took.count() / static_cast<double>(its.size())});
      owners[i]->values[c] = grades[i].value;
    }
  }
  std::vector<Score> scores;
  for (Graded& item : all) {
    item.score.reward = sum_of(item);
    scores.push_back(std::move(item.score));
  }
  return scores;
}

std::optional<double> RewardSet::sum_of(const Graded& item) const {
  double sum = 0;
  for (std::size_t i = 0; i < components_.size(); ++i) {
    if (!item.chosen[i]) continue;
    const Component& c = components_[i];
    if (!item.values[i] || (c.gate && !item.values[*c.gate])) return std::nullopt;
    const bool open = !c.gate || *item.values[*c.gate] >= 1.0;
    sum += open ? c.weight * std::clamp(*item.values[i], c.clip_low, c.clip_high) : 0.0;
  }
  return sum;
}

void check_gradable(const RewardSet& rewards, const Row& row) {
  try {
    rewards.check_row(row.json);
  } catch (const ConfigError& error) {
    throw ConfigError(row.where + ": " + error.what());
  }
}

void check_gradable(const RewardSet& rewards, const RowSource& rows) {
  for (std::uint64_t i = 0; i < rows.size(); ++i) check_gradable(rewards, rows.in_order(i));
}

void check_gradable(const Config& config) {
  const RewardSet rewards(config.rewards);
  for (const std::string& spec : {config.data.train, config.data.eval}) {
    if (!spec.empty()) check_gradable(rewards, *open_rows(spec, config.run.seed));
  }
}

}  // namespace troupe
