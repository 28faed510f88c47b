#include "learner/replay/replay_steps.h"

#include <ATen/Parallel.h>

#include <exception>
#include <mutex>
#include <thread>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/collective/thread_communicator.h"
#include "learner/hub/rank_board.h"
#include "learner/objective/intake.h"
#include "learner/objective/packer.h"
#include "learner/stages/start_model.h"

namespace troupe {
namespace {

/// A rank's thread that ends with an error ends the others' waits at once; beyond that they wait as long as a debugger holds one.
constexpr double kPatienceS = 24 * 3600;

class Replay {
 public:
  Replay(RecordedRun& run, const ReplayJob& job) : run_(run), job_(job) {}

  ReplayedSteps run() {
    const ThreadWorld world(job_.ranks, kPatienceS);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < job_.ranks; ++rank) {
      threads.emplace_back([this, ranks = world.communicator(rank)]() mutable {
        try {
          run_rank(*ranks);
        } catch (const ConfigError&) {
          keep_error(true);
        } catch (...) {
          keep_error(false);
        }
        ranks.reset();
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (error_) std::rethrow_exception(error_);
    return std::move(result_);
  }

 private:
  /// One rank's error is the others' too, in words of their own. The cause is the first, or the one that the user can mend.
  void keep_error(bool mendable) {
    const std::lock_guard lock(mutex_);
    if (!error_ || (mendable && !mendable_)) error_ = std::current_exception();
    mendable_ = mendable_ || mendable;
  }

  void run_rank(Communicator& ranks) {
    const bool leads = ranks.rank() == 0;
    at::set_num_threads(job_.config.learners.threads);
    DeadlineConfig deadline;
    deadline.collective_s = deadline.phase_s = kPatienceS;
    const SteadyClock clock;
    RankBoard board(static_cast<std::uint32_t>(ranks.rank()), deadline, ranks, clock);
    GrpoLearner learner(job_.config, run_.folder(), ranks, board);
    begin(learner, leads);
    std::vector<UpdateTrace> traces;
    for (std::int64_t step = job_.first; step <= job_.last; ++step) {
      const int together = job_.config.learners.tensor_parallel;  // ranks that train one plan
      if (leads) plans_ = pack_step(make_step(job_.config, step, run_.batch(step)), job_.config.batch, job_.ranks / together);
      ranks.barrier();
      const bool trace = job_.trace && step == job_.last;
      const TrainStats stats = learner.train(plans_[static_cast<std::size_t>(ranks.rank() / together)], trace ? &traces : nullptr);
      const WeightsDigest digest = learner.digest();
      if (!leads) continue;
      result_.steps.push_back(step_record(step, stats, digest, job_.config, job_.ranks));
      if (job_.on_version) job_.on_version(step, learner.parameters());
    }
    for (UpdateTrace& trace : traces) {
      UpdateTrace whole = joined(std::move(trace), learner.data_ranks());
      if (leads) result_.updates.push_back(std::move(whole));
    }
    LearnerState state = learner.state();
    if (leads) result_.state = std::move(state);
    ranks.close();
  }

  /// Brings the learner to version first - 1.
  void begin(GrpoLearner& learner, bool leads) {
    const RunStarted& started = *run_.ledger().started;
    if (leads && learner.initial_hash() != started.weights_hash) {
      throw ConfigError("the model in " + learner.start().string() + " has the weights " + learner.initial_hash() +
                        ", but the run began with " + started.weights_hash + "; --set model.path=DIR names another place");
    }
    if (job_.from) {
      learner.restore(*job_.from);
    } else if (job_.first > 1) {
      learner.load(job_.first - 1, started.config_hash);
      const std::string found = learner.digest().hash;
      const std::string& expected = run_.step(job_.first - 1).weights_hash;
      if (leads && !expected.empty() && found != expected) {
        throw ConfigError("the checkpoint of step " + std::to_string(job_.first - 1) + " has the weights " + found + ", but " +
                          run_.folder().ledger().string() + " says " + expected + ": one of them was changed");
      }
    }
    if (leads && job_.on_version) job_.on_version(job_.first - 1, learner.parameters());
  }

  RecordedRun& run_;
  const ReplayJob& job_;
  std::vector<StepPlan> plans_;  // of the step; written by rank 0 before a barrier
  ReplayedSteps result_;         // written by rank 0 alone
  std::mutex mutex_;
  std::exception_ptr error_;
  bool mendable_ = false;
};

}  // namespace

ParameterLayout layout_of(const RecordedRun& run, const Config& config) {
  return trained_layout(config, read_architecture(start_folder(config, run.folder())));
}

ReplayedSteps replay_steps(RecordedRun& run, const ReplayJob& job) { return Replay(run, job).run(); }

}  // namespace troupe
