#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/base/files.h"
#include "common/base/logger.h"
#include "common/config/config.h"
#include "common/config/run_folder.h"
#include "learner/hub/ledger.h"

namespace troupe {

/// The run directory, made where it is not there. @throws ConfigError naming it and why it cannot be made.
std::filesystem::path made_run_folder(const std::filesystem::path& folder);

/// Removes what a killed attempt left half-written: the temporary files of write_file_atomically beside their targets.
void clear_temporary_files(const RunFolder& folder, const Logger& logger);

/// A run directory in the hands of its one owner (rank 0): its lock, its ledger, and what it says about itself.
class RunRecord {
 public:
  /// Makes or opens the directory. @throws ConfigError where another process owns it (naming its pid), where the run there has
  /// another configuration (naming keys and values), or where it is finished and no further steps are asked for.
  RunRecord(const Config& config, const RunFolder& folder, const Logger& logger);

  const RunFolder& folder() const { return folder_; }
  const std::string& run_id() const { return run_id_; }
  Ledger& ledger() { return ledger_; }
  const LedgerState& state() const { return ledger_.state(); }
  /// The end record is there for these very steps: only the summary may be missing, and is then written by write_summary.
  bool only_summary_left() const { return only_summary_left_; }

  /// The first record, or the check of it. @throws ConfigError where the run began with other weights.
  void begin(const std::string& initial_weights_hash);

  /// Writes summary.json, which describes the run over all its attempts.
  void write_summary() const;

 private:
  Config config_;
  RunFolder folder_;
  FolderLock lock_;
  Ledger ledger_;
  std::string run_id_;
  bool only_summary_left_ = false;
};

/// The object of summary.json as the ledger has it so far; `final_hash` is null before the end.
std::string summary_text(const LedgerState& state);

}  // namespace troupe
