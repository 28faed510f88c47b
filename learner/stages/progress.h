#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "common/config/config.h"
#include "learner/hub/hub.h"
#include "learner/objective/intake.h"
#include "learner/trainer.h"

namespace troupe {

/// Wall time of a step's parts in seconds.
struct StepTimes {
  double step = 0;     // all of it
  double wait = 0;     // for the batch
  double train = 0;    // forward, backward, optimizer
  double publish = 0;
};

/// What is shown and logged of a step: names as in common/base/metric_names.h.
struct StepReport {
  std::int64_t step = 0;
  IntakeMetrics intake;
  TrainStats train;
  StepTimes times;
  HubStatus hub;
};

/// Metrics by name of completions that need not be those of a step.
std::map<std::string, double> metrics_of(const IntakeMetrics& intake);

/// A step's metrics by name, those of the whole run (tokens so far) left out.
std::map<std::string, double> metrics_of(const StepReport& report);

/// "reward 0.83  accuracy 0.71  …": a step's part of a line for the terminal.
std::string progress_text(const StepReport& report);

/// "1h02m", "3m20s", "12s".
std::string human_duration(double seconds);

/// Shows a run on standard output: on a terminal one line that is rewritten, elsewhere a line a step. One thread at a time.
class ProgressDisplay {
 public:
  ProgressDisplay(std::int64_t last_step, bool terminal) : last_step_(last_step), terminal_(terminal) {}
  void step(const StepReport& report);
  /// `text` about a step that took `step_s`, and the time that is left.
  void line(std::int64_t step, const std::string& text, double step_s);
  /// Lets other output begin on a line of its own.
  void clear_line();
  /// A line that stays, e.g. an evaluation or why the run waits.
  void note(const std::string& text);
  /// The before/after table of a finished run; evaluations that were not made are left out.
  void table(const std::optional<Evaluated>& before, const std::optional<Evaluated>& after, std::int64_t steps, double wall_s);

 private:
  std::int64_t last_step_;
  bool terminal_;
  bool line_shown_ = false;
  double smoothed_step_s_ = 0;
};

}  // namespace troupe
