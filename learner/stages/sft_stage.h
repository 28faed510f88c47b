#pragma once

#include <filesystem>
#include <functional>

#include "common/base/logger.h"
#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/config/run_folder.h"

namespace troupe {

/// `troupe sft`: supervised fine-tuning of model.path (or of a [cold_start]'s random weights) on data.train's rows of prompt and
/// completion, or of messages, whose assistant's turns are trained: run.steps steps of batch.prompts rows. Writes config.cfg, metrics.jsonl and checkpoints/step-N/hf at the end.
/// The first step's intermediates go to the folder `dump` (update_trace.h), unless that is empty. Collective. Returns 0, or 75 where `stop` said so before the last step; what was trained until then is exported too.
int run_sft_stage(const Config& config, const RunFolder& folder, const std::filesystem::path& dump, Communicator& communicator,
                  const std::function<bool()>& stop, const Logger& logger);

}  // namespace troupe
