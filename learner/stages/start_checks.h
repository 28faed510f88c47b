#pragma once

#include <cstdint>
#include <filesystem>

#include "common/base/logger.h"
#include "common/config/config.h"
#include "learner/stages/run_record.h"

namespace troupe {

// What rank 0 looks at before the first step, so that a mistake is told before any work is done.

/// @throws ConfigError naming file and row of what is wrong with data.train or data.eval.
void check_data(const Config& config, const std::filesystem::path& model_folder, const Logger& logger);

/// A checkpoint is written after the records that lead to it. @throws ConfigError where the ledger does not have them.
void require_ledger(const RunRecord& record, std::int64_t resumed_step);

/// Says which settings keep sampler and learner from agreeing to the bit.
void say_exactness(const Config& config, const Logger& logger);

}  // namespace troupe
