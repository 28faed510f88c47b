#pragma once

#include <map>
#include <optional>
#include <string>

#include "common/base/files.h"
#include "common/base/logger.h"
#include "common/base/metrics.h"
#include "common/config/config.h"
#include "common/config/run_folder.h"
#include "learner/stages/stage_units.h"

namespace troupe {

/// The run directory of a supervised stage: whose it is, what it holds so far, its metrics and summary. Rank 0 alone.
class StageRecord {
 public:
  /// Takes the directory, which is made, and writes config.cfg and version.txt. @throws ConfigError where another process or
  /// another kind of run owns it, its configuration differs (naming the keys), or the stage is finished and run.steps asks for no
  /// more.
  StageRecord(SupervisedKind kind, const Config& config, const RunFolder& folder, const Logger& logger);

  /// Begins with the model's weights, or goes on after checkpoint `resumed_step`. @throws ConfigError where the stage began with
  /// others.
  void begin(const std::string& initial_weights_hash, std::int64_t resumed_step);

  /// A line of metrics.jsonl.
  void write(std::int64_t step, const std::map<std::string, double>& values) { metrics_->write(step, values); }

  /// summary.json: steps, tokens_trained and wall_s over all attempts, the last loss, the first and last held-out one, final_hash.
  void write_summary(std::int64_t steps, const std::string& final_hash) const;

 private:
  SupervisedKind kind_;
  RunFolder folder_;
  FolderLock lock_;
  std::optional<MetricsWriter> metrics_;
};

}  // namespace troupe
