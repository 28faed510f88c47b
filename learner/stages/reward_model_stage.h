#pragma once

#include <filesystem>
#include <functional>

#include "common/base/logger.h"
#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/config/run_folder.h"

namespace troupe {

/// `troupe reward-model`: trains a score on top of model.path (a language model, or a reward model that goes on) on data.train's
/// comparisons or judgements (reward_rows.h): run.steps steps of batch.prompts rows. Writes config.cfg, metrics.jsonl (with
/// the accuracy on the first eval.prompts rows of data.eval before step 1, every eval.every steps and at the end), checkpoints with
/// hf/ for transformers' AutoModelForSequenceClassification, and summary.json. Killed at any moment, the same command goes on from
/// the newest checkpoint and ends in the same bits. The first step's intermediates go to the folder `dump`, unless that is empty.
/// Collective. Returns 0, or 75 where `stop` said so before the last step.
int run_reward_model_stage(const Config& config, const RunFolder& folder, const std::filesystem::path& dump,
                           Communicator& communicator, const std::function<bool()>& stop, const Logger& logger);

}  // namespace troupe
