#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <ostream>
#include <string>

#include "common/model/parameters.h"
#include "learner/replay/recorded_run.h"
#include "learner/replay/replay_steps.h"

namespace troupe {

struct RolledForward {
  LearnerState state;                     // of the version asked for
  std::optional<std::string> difference;  // the first recorded step on the way that came out otherwise
};

/// Brings a learner to `version` from the nearest checkpoint up to version `from` (or the initial weights): the recorded steps
/// between them are trained again, each by as many ranks as it was, and compared with the ledger. Says on `out` where it starts
/// and how many steps it takes. `on_version` is told of every version on the way; it may be empty. @throws as replay_steps.
RolledForward roll_forward(RecordedRun& run, std::int64_t from, std::int64_t version,
                           const std::function<void(std::int64_t version, const Parameters&)>& on_version, std::ostream& out);

}  // namespace troupe
