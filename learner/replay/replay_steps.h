#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "common/config/config.h"
#include "learner/hub/ledger.h"
#include "learner/replay/recorded_run.h"
#include "learner/stages/grpo_learner.h"
#include "learner/update_trace.h"

namespace troupe {

/// Recorded steps to be trained again by the same ranks under one configuration.
struct ReplayJob {
  Config config;
  int ranks = 1;
  std::int64_t first = 1;  // steps; none where last < first
  std::int64_t last = 0;
  std::optional<LearnerState> from;  // of version first - 1; else its checkpoint, or the initial weights at 0
  bool trace = false;                // the last step's updates
  /// Told on rank 0 of the weights that the job begins with and those after each step; they change once it returns. May be
  /// empty.
  std::function<void(std::int64_t version, const Parameters&)> on_version;
};

struct ReplayedSteps {
  std::vector<StepTrained> steps;  // as the ledger would have them
  std::vector<UpdateTrace> updates;
  LearnerState state;  // after the last step
};

/// Of what the run trains. @throws ConfigError.
ParameterLayout layout_of(const RecordedRun& run, const Config& config);

/// Trains the job's steps with its ranks as threads of this process: the same bits as the run's ranks, which were processes.
/// @throws the first rank's error; ConfigError where a checkpoint is damaged, or it or the model does not have the hash that
/// the ledger says.
ReplayedSteps replay_steps(RecordedRun& run, const ReplayJob& job);

}  // namespace troupe
