#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/base/logger.h"
#include "common/config/config.h"
#include "learner/checkpoint_files.h"

namespace troupe {

// RUN/checkpoints as a whole: which checkpoints are there, which are whole, which may go. Rank 0 alone, one thread at a
// time; the run's lock says that nobody else writes here.

/// `root`/step-N.
std::filesystem::path checkpoint_folder(const std::filesystem::path& root, std::int64_t step);

/// The steps of the checkpoints with a DONE file, ascending.
std::vector<std::int64_t> complete_checkpoints(const std::filesystem::path& root);

/// Removes what a killed run left: `.tmp-*` folders, and step-N folders with a manifest but without DONE (a folder that
/// has neither is not a checkpoint's and stays). The names removed.
std::vector<std::string> clear_checkpoint_leftovers(const std::filesystem::path& root);

/// MANIFEST.json of a checkpoint, held against DONE, which carries its checksum. @throws ConfigError naming the file.
CheckpointManifest read_manifest(const std::filesystem::path& folder);

/// Nothing where every file of the checkpoint is as it was written; else the first damage, with file and offset.
std::optional<std::string> find_damage(const std::filesystem::path& folder);

/// The newest checkpoint whose every byte verifies. A damaged one on the way is reported as an error and renamed
/// step-N.bad, so that it is neither used nor deleted. Nothing where none is whole.
std::optional<std::int64_t> newest_whole_checkpoint(const std::filesystem::path& root, const Logger& logger);

/// Of `complete` (ascending) those that go: all but the newest max(2, keep_last), the multiples of keep_every, and
/// `best` where keep_best asks for it.
std::vector<std::int64_t> steps_to_retire(const std::vector<std::int64_t>& complete, const CheckpointConfig& config,
                                          std::optional<std::int64_t> best);

/// Deletes them; a checkpoint that is being deleted is no longer complete at any moment. @throws TransportError.
void retire_checkpoints(const std::filesystem::path& root, const CheckpointConfig& config,
                        std::optional<std::int64_t> best = std::nullopt);

}  // namespace troupe
