#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/config/run_folder.h"

namespace troupe {

/// What of a run is still there that is gone once it has ended, each in words that name it: temporary files in its directory,
/// its shared memory, and processes of this host that work in its directory (those that end
/// within `grace_ms` are not counted). This process and its parents are not of the run. Reads only.
std::vector<std::string> leftovers_of(const RunFolder& folder, const std::string& run_id, std::int64_t grace_ms);

/// Removes what the processes of a killed run left in this host's shared memory; its names. For the run's owner alone (RUN/run.lock).
std::vector<std::filesystem::path> clear_shared_memory(const RunFolder& folder, const std::string& run_id);

}  // namespace troupe
