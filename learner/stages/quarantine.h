#pragma once

#include <cstdint>
#include <vector>

#include "common/config/run_folder.h"
#include "common/messages/messages.h"
#include "learner/trainer.h"

namespace troupe {

/// Adds a line to RUN/rollouts/quarantine: {"step", "groups", "tensor", "updates", "skipped"} of a step with updates that were
/// skipped, so that its rollouts can be looked at (`troupe inspect RUN --group N`). @throws TransportError.
void write_quarantine(const RunFolder& folder, std::int64_t step, const std::vector<GroupRecord>& groups, const TrainStats& train);

}  // namespace troupe
