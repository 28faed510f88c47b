#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/logger.h"
#include "common/base/metrics.h"
#include "common/config/config.h"
#include "common/data/rows.h"
#include "common/tokenizer/tokenizer.h"
#include "learner/health/health.h"
#include "learner/hub/hub.h"
#include "learner/publisher.h"
#include "learner/stages/progress.h"
#include "learner/stages/prompt_writer.h"
#include "learner/stages/run_record.h"
#include "learner/stages/weight_broadcaster.h"

namespace troupe {

/// What rank 0 does beside training: it runs the hub, publishes weights, evaluates, and shows and logs each step. One thread
/// at a time.
class Conductor {
 public:
  /// Starts the hub over the run's ledger (which must have begun) and writes RUN/hub.json. Nothing is leased before the first
  /// `publish`. `model_folder` is the Hugging Face directory that the run started from.
  Conductor(const Config& config, RunRecord& record, const std::filesystem::path& model_folder, std::int64_t resumed_step,
            bool terminal, std::function<bool()> stop, RankBoard& board, Logger logger);
  ~Conductor();

  const std::string& endpoint() const { return endpoint_; }
  /// Whether this rank or, as its beat says, another one was told to stop.
  bool should_stop() const;
  Hub& hub() { return *hub_; }

  /// The groups of a recorded step, for rolling forward.
  std::vector<GroupRecord> recorded_batch(std::int64_t step);
  /// Whether a step came out with other bits when it was rolled forward, as on another number of ranks.
  bool diverged() const;
  /// Waits for the live batch of `step`. Nothing where the run is to stop, by a signal or for reason_to_stop().
  std::optional<std::vector<GroupRecord>> live_batch(std::int64_t step);

  void publish(const Parameters& parameters, std::uint64_t version);

  /// Evaluates the held-out rows under the published `version`, where the configuration names any, unless the ledger has it.
  void evaluate(std::uint64_t version);

  /// The groups of a live step, before it trains: a first look at whether they can teach anything.
  void look_at_batch(std::int64_t step, const IntakeMetrics& intake);
  void step_done(const StepReport& report, const StepTrained& trained);
  /// Why the run must not go on: its verifiers fail (rewarders.max_failed), or it is a strict one that does not learn.
  std::optional<std::string> reason_to_stop() const;
  void note(const std::string& text) { display_.note(text); }

  /// Ends the run: end record, summary.json, goodbye to the peers, the before/after table.
  void finish(const std::string& final_hash);
  /// Writes down that this attempt ends after `step`; then `stop` tells the peers, which leave with the same code.
  void record_stop(std::int64_t step, int exit_code, const std::string& reason);
  void stop(int exit_code, const std::string& reason);

 private:
  void start_hub(const std::filesystem::path& model_folder);
  void start_broadcaster(const at::Device& device);
  std::map<std::string, std::int64_t> refused_since_batch() const;
  std::optional<std::string> failing_verifiers() const;
  void say(const std::vector<Health::News>& news);
  void write_samples(std::uint64_t version, const std::vector<GroupRecord>& records) const;

  Config config_;
  RunRecord& record_;
  std::function<bool()> stop_;
  RankBoard& board_;
  Logger logger_;
  Tokenizer tokenizer_;
  PromptWriter prompts_;  // borrows the tokenizer
  std::unique_ptr<RowSource> train_rows_;
  std::unique_ptr<RowSource> held_out_rows_;
  Publisher publisher_;  // outlives the hub, which lets its versions go
  std::string endpoint_;
  std::unique_ptr<Hub> hub_;
  std::optional<WeightBroadcaster> broadcaster_;  // from the first version on; borrows the hub
  MetricsWriter metrics_;
  ProgressDisplay display_;
  std::map<std::string, double> evaluation_;  // of the version that the next step starts from
  Health health_;
  std::optional<IntakeMetrics> first_evaluation_;  // of version 0, in this attempt
  std::int64_t scored_groups_ = 0;                 // in this attempt, with a reward each
  std::map<std::string, std::int64_t> refused_before_;  // groups up to the last batch, by reason
  std::vector<std::uint64_t> published_;           // checksums of the newest version's parts
  std::optional<double> weights_changed_;          // share of them that the present step changed
};

}  // namespace troupe
