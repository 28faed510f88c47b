#include "rewarders/reward_parameters.h"

#include <algorithm>

#include "common/base/error.h"
#include "common/base/text.h"

namespace troupe {
namespace {

std::string key_of(const RewardConfig& config, const std::string& key) { return "reward." + config.name + "." + key; }

}  // namespace

std::string RewardParameters::text(const std::string& key, const std::string& fallback) {
  known_.push_back(key);
  const auto found = left_.find(key);
  if (found == left_.end()) return fallback;
  std::string value = found->second;
  left_.erase(found);
  return value;
}

double RewardParameters::number(const std::string& key, double fallback, double low, double high) {
  const std::string value = text(key, "");
  if (value.empty()) return fallback;
  const std::optional<double> parsed = parse_double(value);
  if (!parsed || *parsed < low || *parsed > high) {
    throw ConfigError(key_of(config_, key) + ": expected a number from " + shortest(low) + " to " + shortest(high) +
                      ", found '" + value + "'");
  }
  return *parsed;
}

bool RewardParameters::flag(const std::string& key, bool fallback) {
  const std::string value = text(key, fallback ? "true" : "false");
  if (value != "true" && value != "false") {
    throw ConfigError(key_of(config_, key) + ": expected true or false, found '" + value + "'");
  }
  return value == "true";
}

std::vector<std::string> RewardParameters::words(const std::string& key, const std::string& fallback,
                                                 const std::vector<std::string>& choices) {
  const std::string list = text(key, fallback);
  std::vector<std::string> result;
  for (const std::string_view word : split(list, ',')) {
    const std::string trimmed(trim(word));
    if (std::find(choices.begin(), choices.end(), trimmed) == choices.end()) {
      throw ConfigError(key_of(config_, key) + ": expected some of " + join(choices, ", ") + ", found '" + trimmed + "'");
    }
    result.push_back(trimmed);
  }
  return result;
}

std::string RewardParameters::choice(const std::string& key, const std::string& fallback, const std::vector<std::string>& choices) {
  const std::string value = text(key, fallback);
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return value;
  throw ConfigError(key_of(config_, key) + ": expected one of " + join(choices, ", ") + ", found '" + value + "'");
}

void RewardParameters::finish() const {
  if (left_.empty()) return;
  throw ConfigError(key_of(config_, left_.begin()->first) + ": unknown key; a reward of kind " + config_.kind + " knows " +
                    (known_.empty() ? "none" : join(known_, ", ")));
}

}  // namespace troupe
