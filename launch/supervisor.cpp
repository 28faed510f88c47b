#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <limits>
#include <memory>
#include <thread>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/logger.h"
#include "common/messages/control.h"
#include "common/model/architecture.h"
#include "common/tokenizer/tokenizer.h"
#include "common/transport/zmq_hub_channel.h"
#include "launch/child_process.h"
#include "launch/commands.h"
#include "launch/role_options.h"
#include "learner/hub/ledger.h"
#include "rewarders/reward.h"

namespace troupe {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitResumable = 75;
constexpr double kGraceS = 5;
constexpr std::int64_t kLookMs = 50;
constexpr std::int64_t kSoonMs = 10000;
constexpr std::int64_t kAskAgainMs = 1000;
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

/// An actor or rewarder: started again, with a growing pause, whenever it ends before the run does.
struct Helper {
  Role role;
  int index;
  std::unique_ptr<ChildProcess> process;
  std::int64_t started_ms = 0;
  std::int64_t start_at_ms = 0;
  int failures = 0;  // in a row that it ended of itself soon after its start
};

/// `troupe run`: the learners under mpirun, actors and rewarders as plain processes of this machine.
class Supervisor {
 public:
  Supervisor(RoleOptions options, std::vector<std::string> words)
      : options_(std::move(options)), words_(std::move(words)), stop_(stop_on_signals()) {
    const Config& config = options_.config;
    for (int i = 0; i < config.actors.count; ++i) helpers_.push_back({Role::kActor, i, nullptr});
    for (int i = 0; i < config.rewarders.count; ++i) helpers_.push_back({Role::kRewarder, i, nullptr});
  }

  int run() {
    start_learners();
    for (;;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(kLookMs));
      if (stop_() && !told_to_stop_) {
        logger_.warning("stopping: the learners finish their step and write a checkpoint");
        told_to_stop_ = true;
      }
      if (told_to_stop_) ask_learners_to_stop();
      if (const auto code = learners_->ended()) {
        if (const auto end = learners_ended(*code)) return finish(*end);
      }
      look_after_helpers();
    }
  }

 private:
  std::vector<std::string> role_command(const std::string& role) const {
    std::vector<std::string> command = {program_, role};
    command.insert(command.end(), words_.begin(), words_.end());
    command.insert(command.end(), {"--run-dir", options_.folder.root.string()});
    return command;
  }

  void start_learners() {
    std::vector<std::string> command = role_command("learner");
    if (isatty(STDOUT_FILENO) != 0) command.push_back("--terminal");
    const int count = options_.config.learners.count;
    if (count > 1) {
      std::vector<std::string> mpirun = {"mpirun", "--bind-to", "none", "--oversubscribe", "-np", std::to_string(count)};
      if (geteuid() == 0) mpirun.insert(mpirun.begin() + 1, "--allow-run-as-root");
      const std::filesystem::path memory = options_.folder.mpi_memory();
      std::error_code error;
      std::filesystem::remove_all(memory, error);  // with what the ranks of a killed attempt left
      if (std::filesystem::create_directory(memory, error)) {
        mpirun.insert(mpirun.begin() + 1, {"--mca", "btl_vader_backing_directory", memory.string()});
      }
      command.insert(command.begin(), mpirun.begin(), mpirun.end());
    }
    std::filesystem::remove(options_.folder.hub());  // of an earlier attempt: helpers start when the new one is there
    for (Helper& helper : helpers_) helper.start_at_ms = 0;
    summary_before_ = summary_time();
    learners_ = std::make_unique<ChildProcess>("the learners", command, "");
  }

  /// mpirun hands SIGUSR1 on to its ranks, but not while it is still starting them: so it is sent again and again.
  void ask_learners_to_stop() {
    const std::int64_t now_ms = clock_.now_ms();
    if (now_ms < ask_again_at_ms_) return;
    ask_again_at_ms_ = now_ms + kAskAgainMs;
    learners_->send_signal(SIGUSR1);
  }

  /// Whether the summary is there, and not as it was when the learners were started.
  bool summary_written() const {
    const auto time = summary_time();
    return time && time != summary_before_;
  }

  std::optional<std::filesystem::file_time_type> summary_time() const {
    std::error_code error;
    const auto time = std::filesystem::last_write_time(options_.folder.summary(), error);
    return error ? std::nullopt : std::optional(time);
  }

  std::int64_t trained_steps() const {
    if (!std::filesystem::exists(options_.folder.ledger())) return 0;
    return read_ledger(options_.folder.ledger()).last_trained_step;
  }

  /// The run's exit code where it is over, or nothing where the learners were started again.
  std::optional<int> learners_ended(int code) {
    const bool final = code == kExitFailed || code == kExitUsage;  // another attempt would come to the same
    // The summary is written last: once these learners wrote it the run is over, whatever signal they or mpirun then ended by.
    const bool finished = code == 0 || (summary_written() && (told_to_stop_ || !final));
    if (finished || final || told_to_stop_) return finished ? 0 : told_to_stop_ ? kExitResumable : code;
    const std::int64_t steps = trained_steps();
    restarts_ = steps > steps_at_restart_ ? 1 : restarts_ + 1;
    steps_at_restart_ = steps;
    if (restarts_ > options_.config.run.max_restarts) {
      logger_.error("the learners " + describe_end(code) + " " + std::to_string(restarts_) +
                    " times in a row without a step: giving up; the same command resumes");
      return kExitResumable;
    }
    logger_.warning("a learner " + describe_end(code) + " after step " + std::to_string(steps) + ": starting them again");
    std::this_thread::sleep_for(std::chrono::milliseconds(200 << restarts_));
    start_learners();
    return std::nullopt;
  }

  void look_after_helpers() {
    const std::int64_t now_ms = clock_.now_ms();
    for (Helper& helper : helpers_) {
      if (helper.process) {
        const auto code = helper.process->ended();
        if (!code) continue;
        retire(helper, *code, now_ms);
      }
      if (told_to_stop_ || now_ms < helper.start_at_ms || !std::filesystem::exists(options_.folder.hub())) continue;
      start(helper);
    }
  }

  /// Takes note of an ended helper and when to start the next. One that keeps ending right after its start will not do
  /// better the fifth time: then the run is stopped.
  void retire(Helper& helper, int code, std::int64_t now_ms) {
    const bool of_itself = code < 128 && code != kExitResumable && now_ms - helper.started_ms < kSoonMs;
    helper.failures = of_itself ? helper.failures + 1 : 0;
    // Code 0 is the hub's word that the run is finished: nobody is needed any more, unless the learners start again.
    helper.start_at_ms = code == 0 ? kNever : now_ms + (std::int64_t{100} << std::min(helper.failures, 7));
    const bool told = !std::filesystem::exists(options_.folder.hub());  // the hub has said goodbye: all leave
    if (code != 0 && code != kExitResumable && !told) {
      logger_.warning(helper.process->name() + " (pid " + std::to_string(helper.process->pid()) + ") " + describe_end(code) +
                      ": starting another; its log is " + log_of(helper));
    }
    if (helper.failures > options_.config.run.max_restarts && !told_to_stop_) {
      logger_.error(helper.process->name() + " ended " + std::to_string(helper.failures) +
                    " times right after its start: stopping the run; see " + log_of(helper));
      told_to_stop_ = true;
    }
    helper.process.reset();
  }

  std::string name_of_helper(const Helper& helper) const { return std::string(name_of(helper.role)) + " " + std::to_string(helper.index); }
  std::string log_of(const Helper& helper) const {
    const std::string name = std::string(name_of(helper.role)) + "-" + std::to_string(helper.index) + ".log";
    return (options_.folder.root / "logs" / name).string();
  }

  void start(Helper& helper) {
    helper.started_ms = clock_.now_ms();
    std::vector<std::string> command = role_command(name_of(helper.role));
    command.insert(command.end(), {"--index", std::to_string(helper.index)});
    helper.process = std::make_unique<ChildProcess>(name_of_helper(helper), command, log_of(helper));
  }

  /// The learners are gone: the others have been told by the hub, and get a moment to leave.
  int finish(int code) {
    const Deadline deadline = Deadline::after_s(kGraceS);
    for (Helper& helper : helpers_) {
      if (!helper.process) continue;
      while (!helper.process->ended() && !deadline.expired()) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      helper.process->stop(1);
    }
    std::error_code ignored;  // cleared at the next start, then
    std::filesystem::remove_all(options_.folder.mpi_memory(), ignored);
    return code;
  }

  RoleOptions options_;
  std::vector<std::string> words_;  // CONFIG and overrides, handed on to every role
  const std::string program_ = std::filesystem::read_symlink("/proc/self/exe").string();
  std::function<bool()> stop_;
  Logger logger_{"run"};
  SteadyClock clock_;
  std::unique_ptr<ChildProcess> learners_;
  std::vector<Helper> helpers_;
  bool told_to_stop_ = false;
  std::int64_t ask_again_at_ms_ = 0;
  int restarts_ = 0;
  std::int64_t steps_at_restart_ = 0;
  std::optional<std::filesystem::file_time_type> summary_before_;  // the summary's when the learners were started
};

/// Makes the run directory, and finds out at once what would stop the learners later. @throws ConfigError where the directory
/// cannot be made, another run owns it (naming its pid), hub.bind cannot be had, or the model's files, the rewards or the rows are
/// wrong.
void prepare(const RoleOptions& options) {
  const std::filesystem::path logs = options.folder.root / "logs";
  std::error_code error;
  std::filesystem::create_directories(logs, error);
  if (error) throw ConfigError("--run-dir: cannot make " + logs.string() + ": " + error.message());
  const FolderLock nobody_else(options.folder.lock());  // until the end of this function: the learners take it themselves
  const Config& config = options.config;
  const ZmqHubChannel port(config.hub.bind, config.hub.insecure);
  if (config.cold_start.steps == 0) {
    read_architecture(config.model.path);
    Tokenizer::load(config.model.path);
  }
  check_gradable(config);
}

/// The threads that compute at a time: with a lag of 0 learners and actors wait for one another.
int threads_at_work(const Config& config) {
  const int learners = config.learners.count * config.learners.threads;
  const int actors = config.actors.count * config.actors.threads;
  return config.run.max_lag == 0 ? std::max(learners, actors) : learners + actors;
}

/// OpenMP's threads spin between their loops. Where they are more than the cores each waits for others that spin (two threads in each
/// of four processes on two cores: steps of 10 to 120 s instead of 1); there the roles' threads sleep, unless the environment says
/// how they wait. Where they have cores of their own spinning is faster, by a third with a small model.
void let_threads_sleep(const Config& config, const Environment& environment) {
  if (threads_at_work(config) <= sysconf(_SC_NPROCESSORS_ONLN)) return;
  for (const char* name : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}) {
    if (environment.contains(name)) return;
  }
  setenv("OMP_WAIT_POLICY", "passive", 1);
}

}  // namespace

int run_command(const std::vector<std::string>& words, const Environment& environment) {
  RoleOptions options = read_role_options("run", words);
  options.config.validate_for_training();
  prepare(options);
  let_threads_sleep(options.config, environment);
  std::vector<std::string> handed_on = {options.config_path};
  handed_on.insert(handed_on.end(), options.overrides.begin(), options.overrides.end());
  std::cout << "run directory: " << options.folder.root.string() << std::endl;
  return Supervisor(std::move(options), std::move(handed_on)).run();
}

}  // namespace troupe
