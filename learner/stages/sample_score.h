#pragma once

#include <algorithm>
#include <optional>

#include "common/messages/messages.h"

namespace troupe {

/// The component that says whether an answer is right: the one named "accuracy", else the first; null where there is none.
inline const RewardComponent* accuracy_component(const Score& score) {
  const auto named = std::find_if(score.components.begin(), score.components.end(),
                                  [](const RewardComponent& component) { return component.name == "accuracy"; });
  if (named != score.components.end()) return &*named;
  return score.components.empty() ? nullptr : &score.components.front();
}

/// Its value; nothing where the verifier failed or there is no component.
inline std::optional<double> accuracy_of(const Score& score) {
  const RewardComponent* const component = accuracy_component(score);
  return component == nullptr ? std::nullopt : component->value;
}

}  // namespace troupe
