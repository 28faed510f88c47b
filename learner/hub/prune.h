#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/config/run_folder.h"

namespace troupe {

/// What `prune` did.
struct PruneResult {
  std::vector<std::uint32_t> deleted;  // files of the rollout log
  std::uint64_t bytes = 0;             // of them
  std::int64_t needed_from = 0;        // groups of this step and later ones stay
  std::vector<std::uint32_t> kept;     // files that hold such groups, or undecided ones, or are the newest
};

/// Deletes the files of the rollout log whose groups were all decided before `step`: trained at an earlier step, refused or
/// evaluated by then. What a resume or a replay needs that begins at the oldest of `checkpoints` (steps of whole ones,
/// ascending) stays whatever `step` is, and so does the newest file. The ledger says first, durably, which files go. For the
/// run's owner alone (RUN/run.lock).
/// @throws ConfigError where no checkpoint covers the steps before `step`, naming those that are there.
PruneResult prune_rollouts(const RunFolder& folder, std::int64_t step, std::span<const std::int64_t> checkpoints);

}  // namespace troupe
