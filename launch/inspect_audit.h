#pragma once

#include "common/config/run_folder.h"

namespace troupe {

/// `troupe inspect RUN --audit`: the invariants I1 to I8 one by one, with how far each can be checked from outside, what breaks
/// them, damaged checkpoints, and final_hash; as JSON with `json`. 0 where all hold that can be checked, else 1.
int show_audit(const RunFolder& folder, bool json);

}  // namespace troupe
