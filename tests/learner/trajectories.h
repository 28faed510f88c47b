#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "learner/objective/trajectory.h"

namespace troupe {

/// A completion behind two tokens of a prompt, as a sampler gave it.
inline Trajectory trajectory(std::uint64_t group, std::vector<std::int32_t> ids, double reward) {
  Trajectory made;
  made.group = group;
  made.ids = std::move(ids);
  made.prompt_tokens = 2;
  made.sampler_logprobs.assign(made.ids.size() - 2, -1.0F);
  made.versions.assign(made.ids.size() - 2, 0);
  made.reward = reward;
  return made;
}

/// Of the tiny model's vocabulary, of four lengths.
inline const std::vector<Trajectory> kTrajectories = {trajectory(0, {1, 2, 3, 4, 5}, 1), trajectory(1, {2, 2, 7, 8}, -1), trajectory(2, {5, 1, 9}, 2),
                                                     trajectory(3, {1, 10, 3, 3, 3, 3}, 0)};

}  // namespace troupe
