#pragma once

#include <cstdint>
#include <filesystem>
#include <ostream>

#include "learner/replay/recorded_run.h"

namespace troupe {

struct LearnerReplay {
  std::int64_t step = 0;
  int world = 0;               // ranks to train it with; 0: as many as it was trained with
  std::filesystem::path dump;  // folder for every intermediate, or empty
};

/// Trains a recorded step again and compares loss, gradient norm and weights with the ledger, bit by bit; then, where another
/// number of ranks is asked for or the run's configuration is changed, once more under that, to be compared with the first time:
/// within the tolerance of tolerance.h, or, with changes, to show what changed. Says on `out` what it finds. Returns 0 where
/// everything is the same (within the tolerance), else 1. @throws ConfigError where the step, a change or a file is bad.
int replay_learner(RecordedRun& run, const LearnerReplay& options, std::ostream& out);

}  // namespace troupe
