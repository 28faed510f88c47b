#pragma once

#include <algorithm>
#include <optional>

#include "common/messages/messages.h"

namespace troupe {

/// The component that says whether an answer is right: the one named "accuracy", else the first.
inline std::optional<double> accuracy_of(const Score& score) {
  const auto named = std::find_if(score.components.begin(), score.components.end(),
                                  [](const RewardComponent& component) { return component.name == "accuracy"; });
  if (named != score.components.end()) return named->value;
  return score.components.empty() ? std::nullopt : score.components.front().value;
}

}  // namespace troupe
