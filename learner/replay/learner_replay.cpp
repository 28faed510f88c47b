#include "learner/replay/learner_replay.h"

#include <optional>

#include "common/base/error.h"
#include "common/base/text.h"
#include "learner/checkpoint_folder.h"
#include "learner/replay/differences.h"
#include "learner/replay/replay_steps.h"
#include "learner/replay/roll_forward.h"
#include "learner/replay/tolerance.h"
#include "learner/schedule.h"

namespace troupe {
namespace {

/// A step has to have a weights hash, or a checkpoint, to be compared with.
void require_recorded_weights(const RecordedRun& run, const StepTrained& recorded, bool has_checkpoint) {
  if (!recorded.weights_hash.empty() || has_checkpoint) return;
  std::string hashed;
  for (const auto& [step, trained] : run.ledger().trained) {
    if (!trained.weights_hash.empty()) hashed += (hashed.empty() ? "" : ", ") + std::to_string(step);
  }
  throw ConfigError("--step " + std::to_string(recorded.step) + ": the run recorded no hash of its weights (run.hash_every = " +
                    std::to_string(run.config_of(recorded.step).run.hash_every) +
                    ") and has no checkpoint of it; steps with a hash: " + (hashed.empty() ? "none" : hashed));
}

class Replayer {
 public:
  Replayer(RecordedRun& run, const LearnerReplay& options, std::ostream& out)
      : run_(run),
        options_(options),
        out_(out),
        recorded_(run.step(options.step)),
        config_(run.config_of(options.step)),
        layout_(layout_of(run, config_)) {}

  int run() {
    const Config changed = changed_config();
    const bool checkpointed = run_.start_for(options_.step) == options_.step;
    require_recorded_weights(run_, recorded_, checkpointed);
    out_ << "step " << options_.step << " of " << run_.folder().root.string() << " on " << recorded_.world_size
         << (recorded_.world_size == 1 ? " rank" : " ranks") << ": ";
    RolledForward rolled = roll_forward(run_, options_.step - 1, options_.step - 1, {}, out_);
    if (rolled.difference) return differs(*rolled.difference);
    start_ = std::move(rolled.state);

    const bool again = options_.world != 0 || run_.changed();
    const ReplayedSteps first = train(config_, static_cast<int>(recorded_.world_size), again || !options_.dump.empty());
    std::optional<std::string> difference = first_difference(layout_, recorded_, first.steps.front());
    if (checkpointed) {
      if (const auto element = difference_from_checkpoint(first)) difference = (difference ? *difference + "; " : "") + *element;
    }
    if (difference && !checkpointed) *difference += "; index and values would need the run's checkpoint of this step";
    if (!options_.dump.empty() && !again) dump(first, config_);
    if (difference) return differs("step " + std::to_string(options_.step) + ": " + *difference);
    out_ << "the same bits as recorded: loss " << shortest(recorded_.loss) << ", gradient norm " << shortest(recorded_.grad_norm)
         << ", weights " << first.steps.front().weights_hash << (checkpointed ? ", and both moments of the checkpoint" : "") << '\n';
    return again ? train_again(first, changed) : 0;
  }

 private:
  Config changed_config() const {
    Config changed = run_.changed_config_of(options_.step);
    if (changed.run.max_lag < config_.run.max_lag) {
      throw ConfigError("--set run.max_lag=" + std::to_string(changed.run.max_lag) + ": the step's groups may lag by " +
                        std::to_string(config_.run.max_lag) + "; expected at least that");
    }
    if (options_.world != 0) changed.learners.count = options_.world;
    return changed;
  }

  int differs(const std::string& what) const {
    out_ << "DIFFERENT: " << what << '\n';
    return 1;
  }

  ReplayedSteps train(const Config& config, int ranks, bool trace) const {
    ReplayJob job;
    job.config = config;
    job.ranks = ranks;
    job.first = job.last = options_.step;
    job.from = start_;
    job.trace = trace;
    return replay_steps(run_, job);
  }

  /// The weights, and Adam's moments, of which the ledger has no hash.
  std::optional<std::string> difference_from_checkpoint(const ReplayedSteps& replayed) const {
    const std::filesystem::path folder = checkpoint_folder(run_.folder().checkpoints(), options_.step);
    if (const auto damage = find_damage(folder)) throw ConfigError("damaged checkpoint: " + *damage);
    ReplayJob job;  // of no step: it loads the checkpoint
    job.config = config_;
    job.ranks = static_cast<int>(recorded_.world_size);
    job.first = options_.step + 1;
    job.last = options_.step;
    return first_difference(layout_, replay_steps(run_, job).state, replayed.state);
  }

  void dump(const ReplayedSteps& replayed, const Config& config) const {
    if (replayed.updates.empty()) throw ConfigError("--dump: nothing trained in step " + std::to_string(options_.step));
    for (std::size_t i = 0; i < replayed.updates.size(); ++i) {
      const auto folder = i == 0 ? options_.dump : options_.dump / ("update-" + std::to_string(i + 1));
      write_dump(folder, layout_, replayed.updates[i],
                 {{"step", std::to_string(options_.step)}, {"update", std::to_string(i + 1)}, {"config", print_config(config)}});
    }
    out_ << "dumped " << replayed.updates.size() << (replayed.updates.size() == 1 ? " update" : " updates") << " to "
         << options_.dump.string() << '\n';
  }

  /// Under another number of ranks or another configuration, against the first time.
  int train_again(const ReplayedSteps& first, const Config& changed) const {
    for (const std::string& key : config_differences(config_, changed)) out_ << "changed " << key << '\n';
    Config trained = changed;
    // The sampler's bits are those of the run's own model and sampling.
    if (changed.model.dtype != config_.model.dtype || changed.sampling != config_.sampling) trained.run.exact = false;
    const ReplayedSteps second = train(trained, changed.learners.count, true);
    if (!options_.dump.empty()) dump(second, changed);
    const StepTrained& before = first.steps.front();
    const StepTrained& after = second.steps.front();
    out_ << "on " << after.world_size << (after.world_size == 1 ? " rank" : " ranks") << ": loss " << shortest(before.loss)
         << " -> " << shortest(after.loss) << ", gradient norm " << shortest(before.grad_norm) << " -> "
         << shortest(after.grad_norm) << '\n'
         << "weights: " << describe_change(layout_, first.state.master, second.state.master) << '\n';
    if (same_numbers(before, after)) {
      out_ << "the same bits\n";
      return 0;
    }
    if (!run_.changed()) return judge(first, second);
    const auto number = first_difference(layout_, before, after);
    const auto weight = first_difference(layout_, first.state.master, second.state.master);
    return differs(number.value_or("") + (weight ? "; first weight " + *weight : ""));
  }

  /// Later updates of a step start from weights that differ: of those only how far AdamW can go is known.
  int judge(const ReplayedSteps& first, const ReplayedSteps& second) const {
    const double lr = learning_rate(config_.optimizer, options_.step, config_.run.steps);
    const auto updates = static_cast<std::int64_t>(first.updates.size());
    const StepTolerance tolerance = tolerance_of(layout_, first.updates.front(), options_.world);
    const double weights = static_cast<double>(updates) * longest_way(config_.optimizer, start_.updates + updates, lr);
    out_ << "tolerance" << (updates > 1 ? " of the first of " + std::to_string(updates) + " updates" : "") << ", sums of "
         << tolerance.terms << " terms in another order: loss " << shortest(tolerance.loss) << ", gradients "
         << shortest(static_cast<double>(tolerance.terms) * 0x1p-24) << " of their tensor's largest, gradient norm "
         << shortest(tolerance.grad_norm) << "; of all: weights " << shortest(2 * weights) << '\n';
    std::string far = beyond(tolerance, layout_, first.updates.front(), second.updates.front());
    if (far.empty()) far = weight_beyond(layout_, 2 * weights, first.state.master, second.state.master);
    if (!far.empty()) return differs(far);
    out_ << "within the tolerance\n";
    return 0;
  }

  RecordedRun& run_;
  const LearnerReplay& options_;
  std::ostream& out_;
  const StepTrained& recorded_;
  const Config config_;  // the step's own
  const ParameterLayout layout_;
  LearnerState start_;
};

}  // namespace

int replay_learner(RecordedRun& run, const LearnerReplay& options, std::ostream& out) { return Replayer(run, options, out).run(); }

}  // namespace troupe
