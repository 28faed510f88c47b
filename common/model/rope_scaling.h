#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace troupe {

/// How rotary positions (Su et al., "RoFormer", 2021) are stretched over a longer context than the model was first trained on.
/// Numbers that a kind does not use keep their defaults.
struct RopeScaling {
  enum class Kind {
    kNone,
    kLinear,  // positions divided by `factor` (Chen et al., "Extending context window … via position interpolation", 2023)
    kLlama3,  // long waves divided by `factor`, short ones left, those between blended (Llama 3.1)
    kYarn,    // Peng et al., "YaRN", 2023, section 3: blended by how often a wave turns, and cosines and sines scaled
  };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  double original_positions = 0.0;  // the context length before: kLlama3, kYarn
  double low_frequency = 1.0;       // kLlama3: waves longer than original_positions / low_frequency are divided
  double high_frequency = 4.0;      // kLlama3: waves shorter than original_positions / high_frequency are left
  double beta_fast = 32.0;          // kYarn: waves that turn more often within original_positions are left
  double beta_slow = 1.0;           // kYarn: those that turn less often are divided
  bool truncate = true;             // kYarn: the two bounds are rounded outwards to whole dimensions
  double attention_factor = 1.0;    // kYarn: what cosines and sines are multiplied by
  bool operator==(const RopeScaling&) const = default;

  /// From a config.json's "rope_scaling" or "rope_parameters" object (`where` names it in errors). `original_positions` counts
  /// where the object does not have its own. @throws ConfigError naming the key.
  static RopeScaling from_json(const nlohmann::json& json, double original_positions, const std::string& where);
  /// The object that from_json reads and transformers understands, `rope_theta` in it.
  nlohmann::json to_json(double rope_theta) const;
  /// @throws ConfigError naming the key.
  void validate() const;
};

/// Radians for one position, by pair of dimensions: pair i of a head turns by position * result[i]. Without scaling that is
/// theta^(-2i / head_size). Formulas and roundings as transformers' modeling_rope_utils has them, all in fp32: models were trained with
/// these angles, and at some thousands of positions exact ones are 1e-4 from them.
std::vector<float> radians_a_position(double theta, std::int64_t head_size, const RopeScaling& scaling);

}  // namespace troupe
