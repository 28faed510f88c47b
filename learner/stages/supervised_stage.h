#pragma once

#include <filesystem>
#include <functional>

#include "common/base/logger.h"
#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/config/run_folder.h"
#include "learner/stages/stage_units.h"

namespace troupe {

struct StageOptions {
  SupervisedKind kind = SupervisedKind::kSft;
  Config config;
  RunFolder folder;
  std::filesystem::path dump;  // where the first step's intermediates go (update_trace.h); empty: nowhere
  bool terminal = false;       // rewrite one progress line
  std::function<bool()> stop;  // preemption: finish the step, write a checkpoint, 75
};

/// `troupe sft`, `troupe pretrain` and `troupe dpo`: run.steps steps of batch.prompts units (supervised.h, stage_units.h) from
/// model.path, from what a [cold_start] makes, or, to be pretrained, from random weights of [cold_start]'s shape. Held-out loss
/// before the first step, each eval.every and after the last; checkpoints each checkpoint.every, with hf/. Killed, the same call
/// goes on from the newest checkpoint and ends in the same bits. Collective. Returns 0; 75 where it was asked to stop; 1 where
/// gradients were not finite in run.max_skipped steps in a row. @throws ConfigError on wrong rows, models and run directories.
int run_supervised_stage(const StageOptions& options, Communicator& communicator, const Logger& logger);

}  // namespace troupe
