#pragma once

#include <cstdint>
#include <ostream>

#include "learner/replay/recorded_run.h"

namespace troupe {

/// Writes a trained step's prompts again from their rows, and generates its completions again, with the weights of the versions that drew their tokens (which takes rolling
/// forward to them), and compares the prompts' tokens, and tokens, log-probabilities, finish reasons and texts, with the rollout log. Says on `out` what
/// it finds. Returns 0 where all is the same, else 1. @throws ConfigError where actors.on_new_weights is keep: such tokens were
/// drawn from caches that mixed versions.
int replay_actor(RecordedRun& run, std::int64_t step, std::ostream& out);

/// Scores a trained step's completions again and compares rewards, component values and reasons with the rollout log. Returns
/// and says likewise.
int replay_rewarder(RecordedRun& run, std::int64_t step, std::ostream& out);

}  // namespace troupe
