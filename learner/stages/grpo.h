#pragma once

#include <filesystem>
#include <functional>

#include "common/base/logger.h"
#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/config/run_folder.h"

namespace troupe {

struct GrpoOptions {
  Config config;
  RunFolder folder;
  bool terminal = false;                                          // rewrite one progress line
  std::function<bool()> stop;                                     // preemption: finish the step, write a checkpoint, 75
  std::function<void(const std::filesystem::path&)> write_report; // rank 0, at the end of a finished run
};

/// A learner rank of a GRPO run, from start or resume to its end: cold start, recorded steps rolled forward, then live steps.
/// Rank 0 also holds the hub (conductor.h). Collective. Returns 0, 75 where it was asked to stop, or 1 where gradients
/// were not finite in run.max_skipped steps in a row.
int run_grpo(const GrpoOptions& options, Communicator& communicator, const Logger& logger);

}  // namespace troupe
