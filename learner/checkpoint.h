#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "common/base/logger.h"
#include "learner/checkpoint_folder.h"
#include "learner/sharded_optimizer.h"

namespace troupe {

struct CheckpointInfo {
  std::int64_t step = 0;
  std::string config_hash;
  std::uint64_t ledger_bytes = 0;  // size of ledger.log now
};

/// Writes `root`/step-N: each rank its slice of master parameters and moments (shard-RANK-of-WORLD.bin), `export_more`
/// whatever it puts into the folder beside them (rank 0 only; hf/), MANIFEST.json with the checksum of every file, and
/// last DONE. At every moment either the whole checkpoint or none is there, whichever write, fsync or rename a crash
/// interrupts: all is written to `root`/.tmp-step-N-<pid> and made durable before it is renamed. Collective; `root` is
/// one folder for all ranks.
/// @throws Error where a parameter or moment is not finite, naming the tensor (TransportError on the other ranks).
/// @throws TransportError on every rank where one failed (disk full …), naming it and the reason; what was begun is
/// removed, older checkpoints are untouched, and the run may go on.
void save_checkpoint(const std::filesystem::path& root, const CheckpointInfo& info, const ShardedOptimizer& optimizer,
                     const std::function<void(const std::filesystem::path& folder)>& export_more);

/// Loads the newest checkpoint that verifies into `optimizer`, written by any number of ranks, and returns its step;
/// nothing where there is none. Clears a killed run's leftovers and sets damaged checkpoints aside (logged by rank 0).
/// Collective.
/// @throws ConfigError where it was written under another config hash or for another model.
std::optional<std::int64_t> load_newest_checkpoint(const std::filesystem::path& root, const std::string& config_hash,
                                                   ShardedOptimizer& optimizer, const Logger& logger);

/// Loads `root`/step-`step`, which must verify. Collective. @throws ConfigError as above, or naming the damage.
void load_checkpoint(const std::filesystem::path& root, std::int64_t step, const std::string& config_hash,
                     ShardedOptimizer& optimizer);

}  // namespace troupe
