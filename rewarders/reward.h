#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/config/config.h"
#include "common/messages/messages.h"

namespace troupe {

/// What a reward function sees of one completion.
struct GradedItem {
  const nlohmann::json& row;          // the data row: question, gold or answer, nums …
  const std::string& completion;
  std::uint32_t tokens = 0;           // 0 where unknown (grade on texts)
  FinishReason finish_reason = FinishReason::kStop;
};

/// Value and reason of one component. No value means that the verifier failed, which is never the same as wrong.
struct Grade {
  std::optional<double> value;
  std::string reason;  // ok, wrong, no_answer, …, verifier_failed
};

/// One reward function. Pure: the same item gives the same grade. One thread at a time.
class Reward {
 public:
  virtual ~Reward() = default;
  virtual Grade grade(const GradedItem& item) const = 0;
};

/// The function of `config.kind` with its parameters. @throws ConfigError naming an unknown kind (and the known ones) or parameter.
std::unique_ptr<Reward> make_reward(const RewardConfig& config);

/// All components of a configuration, weighted and summed.
class RewardSet {
 public:
  explicit RewardSet(const std::vector<RewardConfig>& configs);
  ~RewardSet();
  RewardSet(RewardSet&&) noexcept;

  /// Reward and components with value, reason and milliseconds. The reward is empty where a component failed.
  /// A row with a "reward" field is graded by that component alone (beside those marked `always = true`).
  Score score(const GradedItem& item) const;

 private:
  struct Component;
  std::vector<Component> components_;
};

}  // namespace troupe
