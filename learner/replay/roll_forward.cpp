#include "learner/replay/roll_forward.h"

#include <utility>

#include "learner/replay/differences.h"

namespace troupe {
namespace {

/// The first difference between what the job's steps came to and what the ledger says of them.
std::optional<std::string> difference_in(const RecordedRun& run, const ParameterLayout& layout, const ReplayedSteps& replayed) {
  for (const StepTrained& step : replayed.steps) {
    const auto difference = first_difference(layout, run.step(step.step), step);
    if (difference) return "step " + std::to_string(step.step) + ": " + *difference;
  }
  return std::nullopt;
}

}  // namespace

RolledForward roll_forward(RecordedRun& run, std::int64_t from, std::int64_t version,
                           const std::function<void(std::int64_t version, const Parameters&)>& on_version, std::ostream& out) {
  const std::int64_t start = run.start_for(from);
  const std::int64_t steps = version - start;
  out << "from " << (start == 0 ? "the initial weights" : "the checkpoint of step " + std::to_string(start)) << ", rolling forward "
      << steps << (steps == 1 ? " step" : " steps") << std::endl;

  RolledForward rolled;
  ReplayJob job;
  job.on_version = on_version;
  std::int64_t done = start;
  do {  // once at least: it loads what the replay starts from
    job.config = run.config_of(std::min(done + 1, run.ledger().last_trained_step));
    job.ranks = job.config.learners.count;
    job.first = done + 1;
    job.last = done;
    while (job.last < version && run.config_of(job.last + 1) == job.config) ++job.last;
    ReplayedSteps replayed = replay_steps(run, job);
    rolled.difference = difference_in(run, layout_of(run, job.config), replayed);
    rolled.state = std::move(replayed.state);
    if (rolled.difference) return rolled;
    job.from = rolled.state;
    done = job.last;
  } while (done < version);
  return rolled;
}

}  // namespace troupe
