#include "rewarders/score_json.h"

#include "common/base/error.h"

namespace troupe {

nlohmann::ordered_json score_to_json(const Score& score) {
  const auto number_or_null = [](const std::optional<double>& value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
  };
  nlohmann::ordered_json components = nlohmann::ordered_json::object();
  for (const RewardComponent& component : score.components) {
    components[component.name] = {
        {"value", number_or_null(component.value)}, {"reason", component.reason}, {"ms", component.ms}};
  }
  return {{"reward", number_or_null(score.reward)}, {"components", std::move(components)}};
}

Score score_from_json(const nlohmann::ordered_json& json) {
  const auto value_of = [](const nlohmann::ordered_json& field) {
    return field.is_null() ? std::nullopt : std::optional(field.get<double>());
  };
  try {
    Score score;
    score.reward = value_of(json.at("reward"));
    for (const auto& [name, component] : json.at("components").items()) {
      score.components.push_back({name, value_of(component.at("value")), component.at("reason").get<std::string>(),
                                  component.at("ms").get<double>()});
    }
    return score;
  } catch (const nlohmann::json::exception& error) {
    throw ProtocolError(std::string("a score: ") + error.what());
  }
}

}  // namespace troupe
