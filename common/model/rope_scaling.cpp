#include "common/model/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/base/error.h"
#include "common/base/strict_json.h"

namespace troupe {
namespace {

using nlohmann::json;

constexpr double kTurn = 2.0 * std::numbers::pi;

struct KindName {
  RopeScaling::Kind kind;
  const char* name;
};
constexpr KindName kKinds[] = {{RopeScaling::Kind::kNone, "default"},
                               {RopeScaling::Kind::kLinear, "linear"},
                               {RopeScaling::Kind::kLlama3, "llama3"},
                               {RopeScaling::Kind::kYarn, "yarn"}};

/// "rope_type", which older files call "type".
RopeScaling::Kind kind_of(const json& object, const std::string& where) {
  const auto older = json_get_or<std::string>(object, "type", "default", where);
  const auto name = json_get_or<std::string>(object, "rope_type", older, where);
  for (const KindName& known : kKinds) {
    if (name == known.name) return known.kind;
  }
  throw ConfigError(where + ": rope_type: expected default, linear, llama3 or yarn, found \"" + name + "\"");
}

/// YaRN's equation 22, with DeepSeek's two multipliers as transformers applies them.
double yarn_attention_factor(const json& object, double factor, const std::string& where) {
  const auto scale = [factor](double multiplier) { return factor <= 1.0 ? 1.0 : 0.1 * multiplier * std::log(factor) + 1.0; };
  const double one = json_get_or<double>(object, "mscale", 0.0, where),
               all = json_get_or<double>(object, "mscale_all_dim", 0.0, where);
  const double inferred = one != 0.0 && all != 0.0 ? scale(one) / scale(all) : scale(1.0);
  return json_get_or<double>(object, "attention_factor", inferred, where);
}

void require(bool condition, const char* key, double found, const char* expected) {
  if (!condition)
    throw ConfigError(std::string("rope scaling: ") + key + ": expected " + expected + ", found " + std::to_string(found));
}

float llama3(float frequency, const RopeScaling& scaling) {
  const auto factor = static_cast<float>(scaling.factor), low = static_cast<float>(scaling.low_frequency);
  const float wave = 1.0F / frequency * static_cast<float>(kTurn);
  if (wave < static_cast<float>(scaling.original_positions / scaling.high_frequency)) return frequency;
  if (wave > static_cast<float>(scaling.original_positions / scaling.low_frequency)) return frequency / factor;
  const float kept = (1.0F / wave * static_cast<float>(scaling.original_positions) - low) /
                     static_cast<float>(scaling.high_frequency - scaling.low_frequency);
  return (1.0F - kept) * frequency / factor + kept * frequency;
}

/// The share of each pair's frequency that is left alone: falls from 1 to 0 between two pairs.
std::vector<float> yarn_kept(double theta, std::int64_t head_size, const RopeScaling& scaling) {
  const double size = static_cast<double>(head_size);
  const auto pair_that_turns = [&](double turns) {
    return size * std::log(scaling.original_positions / (turns * kTurn)) / (2.0 * std::log(theta));
  };
  double low = pair_that_turns(scaling.beta_fast), high = pair_that_turns(scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, size - 1.0);
  if (low == high) high += 0.001;
  std::vector<float> kept;
  for (std::int64_t i = 0; i < head_size / 2; ++i) {
    const float ramp = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    kept.push_back(1.0F - std::clamp(ramp, 0.0F, 1.0F));
  }
  return kept;
}

}  // namespace

RopeScaling RopeScaling::from_json(const json& object, double original_positions, const std::string& where) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) throw ConfigError(where + ": " + key + ": parameters of their own for a kind of layers are not supported");
  }
  RopeScaling scaling;
  scaling.kind = kind_of(object, where);
  if (scaling.kind == Kind::kNone) return scaling;
  const auto number = [&](const char* key) { return json_get<double>(object, key, where); };
  const auto number_or = [&](const char* key, double otherwise) { return json_get_or<double>(object, key, otherwise, where); };
  scaling.factor = number("factor");
  if (scaling.kind == Kind::kLinear) return scaling;
  scaling.original_positions = number_or("original_max_position_embeddings", original_positions);
  if (scaling.kind == Kind::kLlama3) {
    scaling.low_frequency = number("low_freq_factor");
    scaling.high_frequency = number("high_freq_factor");
    return scaling;
  }
  scaling.beta_fast = number_or("beta_fast", scaling.beta_fast);
  scaling.beta_slow = number_or("beta_slow", scaling.beta_slow);
  scaling.truncate = json_get_or<bool>(object, "truncate", true, where);
  scaling.attention_factor = yarn_attention_factor(object, scaling.factor, where);
  return scaling;
}

json RopeScaling::to_json(double rope_theta) const {
  json object = {{"rope_type", kKinds[static_cast<std::size_t>(kind)].name}, {"rope_theta", rope_theta}};
  if (kind == Kind::kNone) return object;
  object["factor"] = factor;
  if (kind == Kind::kLinear) return object;
  object["original_max_position_embeddings"] = static_cast<std::int64_t>(original_positions);
  if (kind == Kind::kLlama3) {
    object["low_freq_factor"] = low_frequency;
    object["high_freq_factor"] = high_frequency;
    return object;
  }
  object["beta_fast"] = beta_fast;
  object["beta_slow"] = beta_slow;
  object["attention_factor"] = attention_factor;
  if (!truncate) object["truncate"] = false;  // older transformers warn of a key that they do not know
  return object;
}

void RopeScaling::validate() const {
  const auto positive = [](const char* key, double value) {
    require(std::isfinite(value) && value > 0.0, key, value, "a number above 0");
  };
  positive("factor", factor);
  if (kind == Kind::kLlama3 || kind == Kind::kYarn) {
    positive("original_max_position_embeddings", original_positions);
    require(original_positions == std::floor(original_positions) && original_positions < 1e15, "original_max_position_embeddings",
            original_positions, "a whole number");
  }
  if (kind == Kind::kLlama3) {
    positive("low_freq_factor", low_frequency);
    require(std::isfinite(high_frequency) && high_frequency > low_frequency, "high_freq_factor", high_frequency,
            "a number above low_freq_factor");
  }
  if (kind == Kind::kYarn) {
    positive("beta_slow", beta_slow);
    require(std::isfinite(beta_fast) && beta_fast >= beta_slow, "beta_fast", beta_fast, "a number of at least beta_slow");
    positive("attention_factor", attention_factor);
  }
}

std::vector<float> radians_a_position(double theta, std::int64_t head_size, const RopeScaling& scaling) {
  std::vector<float> waves;
  for (std::int64_t i = 0; i < head_size / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_size);
    waves.push_back(static_cast<float>(std::pow(theta, static_cast<double>(exponent))));
  }
  std::vector<float> frequencies;
  for (const float wave : waves) frequencies.push_back(1.0F / wave);
  const auto factor = static_cast<float>(scaling.factor);
  if (scaling.kind == RopeScaling::Kind::kLinear) {
    for (float& frequency : frequencies) frequency /= factor;
  } else if (scaling.kind == RopeScaling::Kind::kLlama3) {
    for (float& frequency : frequencies) frequency = llama3(frequency, scaling);
  } else if (scaling.kind == RopeScaling::Kind::kYarn) {
    const std::vector<float> kept = yarn_kept(theta, head_size, scaling);
    for (std::size_t i = 0; i < waves.size(); ++i) {
      frequencies[i] = 1.0F / (factor * waves[i]) * (1.0F - kept[i]) + frequencies[i] * kept[i];
    }
  }
  return frequencies;
}

}  // namespace troupe
