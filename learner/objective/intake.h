#pragma once

#include <cstdint>
#include <vector>

#include "common/config/config.h"
#include "common/messages/messages.h"
#include "learner/objective/advantage.h"
#include "learner/objective/trajectory.h"

namespace troupe {

/// What a step's groups look like, as sums, counts and maxima over its completions; divided when shown.
struct IntakeMetrics {
  std::int64_t groups = 0;
  std::int64_t zero_variance_groups = 0;  // rewards_are_equal after shaping
  std::int64_t completions = 0;
  std::int64_t trained = 0;  // became trajectories; the others are counted in the next three
  std::int64_t missing_reward = 0;
  std::int64_t masked_overlong = 0;
  std::int64_t empty = 0;    // no completion token
  std::int64_t rewards = 0;  // completions with a reward
  double reward_sum = 0;     // as scored, before the overlong penalty
  double reward_min = 0;     // over the completions with a reward
  double reward_max = 0;
  double overlong_penalty_sum = 0;
  std::int64_t accuracies = 0;  // completions with the component named "accuracy", or else the first one
  double accuracy_sum = 0;
  std::int64_t formats = 0;  // … with the first component of kind format or tags, or named "format"
  double format_sum = 0;
  std::int64_t tokens = 0;  // of all completions
  std::int64_t tokens_max = 0;
  std::int64_t tokens_trained = 0;
  std::int64_t cut_off = 0;  // finish reason length
  std::int64_t lag_sum = 0;  // over groups
  std::int64_t lag_max = 0;
  bool operator==(const IntakeMetrics&) const = default;
};

/// A step's batch with its advantages: for each group, in batch order, the completions that train (perhaps none).
struct StepBatch {
  std::int64_t step = 0;
  std::vector<std::vector<Trajectory>> groups;
  IntakeMetrics metrics;
};

/// The rewards of the group's completions as the advantages see them: with the soft overlong penalty; missing where the
/// verifier failed or the number is not finite. The hub's dynamic sampling asks rewards_are_equal of them.
GroupRewards shaped_rewards(const Config& config, const GroupRecord& record);

/// What the groups look like by themselves: all of IntakeMetrics but the lag and what becomes of completions in training.
IntakeMetrics look_at(const Config& config, const std::vector<GroupRecord>& records);

/// Rewards, shaped, to advantages over the whole step, to trajectories. A completion cut off under loss.overlong_mask
/// stays in its group's statistics but does not train (DAPO's overlong filtering); one without a reward is in neither.
/// @throws InternalError where a group's lag (step - 1 - its lowest version) is negative or above run.max_lag.
StepBatch make_step(const Config& config, std::int64_t step, const std::vector<GroupRecord>& records);

}  // namespace troupe
