#include <ATen/Parallel.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string_view>

#include "actors/actor_loop.h"
#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/base/files.h"
#include "common/collective/mpi_environment.h"
#include "common/collective/thread_communicator.h"
#include "launch/commands.h"
#include "launch/report.h"
#include "launch/trace.h"
#include "launch/role_options.h"
#include "launch/stopped_peers.h"
#include "learner/stages/grpo.h"
#include "learner/stages/reward_model_stage.h"
#include "learner/stages/supervised_stage.h"
#include "rewarders/reward.h"
#include "rewarders/rewarder_loop.h"
#include "rewarders/verifier.h"

namespace troupe {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitResumable = 75;
constexpr std::string_view kModelFolder = "troupe-model-";  // then a pid

int exit_code_of(const std::exception& error) {
  if (dynamic_cast<const ConfigError*>(&error) != nullptr) return kExitUsage;
  if (dynamic_cast<const TransportError*>(&error) != nullptr) return kExitResumable;
  if (dynamic_cast<const DeviceError*>(&error) != nullptr) return kExitResumable;
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return kExitResumable;
  if (dynamic_cast<const std::filesystem::filesystem_error*>(&error) != nullptr) return kExitResumable;
  return kExitFailed;
}

/// MPI where mpirun started this process (or srun started several learners), with the watchdog over its start-up.
std::unique_ptr<MpiEnvironment> make_mpi(const LaunchCounts& counts, const Config& config, bool learner) {
  const bool parallel_srun = learner && counts.launcher == LaunchCounts::Launcher::kSrun && counts.app_size > 1;
  if (!counts.must_initialise_mpi() && !parallel_srun) return nullptr;
  return std::make_unique<MpiEnvironment>(counts, config.deadline.startup_s);
}

/// Ends a role that mpirun may have started: it never finalises MPI, which would wait for the learners.
int leave(int code) {
  std::cout << std::flush;
  std::cerr << std::flush;
  _exit(code);
}

/// Runs a learner group's `work` on this rank and leaves as PROTOCOL says: an error in one rank must not leave the others
/// waiting for a destructor, so it ends the process at once.
template <class Work>
int lead(const std::string& command, const RoleOptions& options, const Environment& environment, Work work) {
  const LaunchCounts counts = read_launch_counts(environment);
  fault::identify(name_of(Role::kLearner), counts.app_rank());
  const auto mpi = make_mpi(counts, options.config, true);
  std::unique_ptr<Communicator> communicator;
  StoppedPeers peers;
  try {
    communicator = mpi ? mpi->learners(options.config.deadline.collective_s)
                       : ThreadWorld(1, options.config.deadline.collective_s).communicator(0);
    peers.meet(*communicator);
    const int code = work(*communicator);
    if (!mpi) return leave(code);
    communicator->close();  // the launcher ends the others when the first leaves: not before all are through
    if (code != 0) return leave(code);
    mpi->leave_together(options.config.deadline.collective_s);
  } catch (const std::exception& error) {
    std::cerr << "troupe " << command << ": rank " << counts.app_rank() << ": " << error.what() << std::endl;
    // Under mpirun alone a stopped rank is mpirun's to end; one that serves other roles too lets everybody live.
    const bool with_others = counts.app_count > 1;
    for (const std::string& ended : with_others ? peers.kill_stopped() : std::vector<std::string>()) std::cerr << "troupe " << command << ": killed " << ended << std::endl;
    return leave(exit_code_of(error));
  }
}

/// The counts that mpirun or srun exported beat learners.count.
Config with_actual_counts(Config config, const Environment& environment) {
  const LaunchCounts counts = read_launch_counts(environment);
  config.learners.count = counts.launcher == LaunchCounts::Launcher::kNone ? 1 : counts.app_size;
  return config;
}

Hello hello_of(Role role, const RoleOptions& options, const LaunchCounts& counts) {
  Hello hello;
  hello.role = role;
  hello.host = host_name();
  hello.pid = static_cast<std::uint64_t>(getpid());
  hello.rank = options.index.value_or(static_cast<std::uint32_t>(counts.app_rank()));
  hello.name = std::string(name_of(role)) + " " + std::to_string(hello.rank) + " @" + hello.host;
  hello.token = read_hub_token(options.folder);
  fault::identify(name_of(role), static_cast<int>(hello.rank));
  return hello;
}

/// Removes the folders of model_from whose actors were killed while they had them.
void clear_model_folders(const std::filesystem::path& place) {
  for (const auto& entry : std::filesystem::directory_iterator(place)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kModelFolder)) continue;
    const pid_t owner = std::atoi(name.c_str() + kModelFolder.size());
    std::error_code ignored;  // somebody else's, or gone meanwhile
    if (owner > 0 && kill(owner, 0) != 0 && errno == ESRCH) std::filesystem::remove_all(entry.path(), ignored);
  }
}

/// Ends an actor or rewarder. One that lost the hub of a run which is finished by now is done.
int leave_run(int code, const RoleOptions& options) {
  return leave(code == kExitResumable && std::filesystem::exists(options.folder.summary()) ? 0 : code);
}

/// The model's small files as the hub sent them, read through a private folder that is gone afterwards.
ActorModel model_from(const Welcome& welcome) {
  const std::filesystem::path place = std::filesystem::temp_directory_path();
  clear_model_folders(place);
  std::string pattern = (place / (std::string(kModelFolder) + std::to_string(getpid()) + "-XXXXXX")).string();
  if (mkdtemp(pattern.data()) == nullptr) throw TransportError("cannot make a folder under " + pattern);
  const std::filesystem::path folder = pattern;
  try {
    for (const ModelFile& file : welcome.model_files) write_file_atomically(folder / file.name, file.bytes);
    ActorModel model{read_architecture(folder), Tokenizer::load(folder)};
    std::filesystem::remove_all(folder);
    return model;
  } catch (...) {
    std::filesystem::remove_all(folder);
    throw;
  }
}

int supervised_command(SupervisedKind kind, const std::vector<std::string>& words, const Environment& environment) {
  const std::string command = name_of(kind);
  RoleOptions options = read_role_options(command, words);
  options.config = with_actual_counts(std::move(options.config), environment);
  at::set_num_threads(options.config.learners.threads);
  StageOptions stage{
      kind, options.config, options.folder, options.dump, options.terminal || isatty(STDOUT_FILENO) != 0, stop_on_signals()};
  return lead(command, options, environment, [&](Communicator& communicator) {
    return run_supervised_stage(stage, communicator, Logger(command + " " + std::to_string(communicator.rank())));
  });
}

}  // namespace

int learner_command(const std::vector<std::string>& words, const Environment& environment) {
  RoleOptions options = read_role_options("learner", words);
  options.config = with_actual_counts(std::move(options.config), environment);
  at::set_num_threads(options.config.learners.threads);
  const std::function<bool()> stop = stop_on_signals();
  return lead("learner", options, environment, [&](Communicator& communicator) {
    if (communicator.rank() == 0) check_gradable(options.config);  // rewarders would find a mistake much later
    GrpoOptions grpo;
    grpo.config = options.config;
    grpo.folder = options.folder;
    grpo.terminal = options.terminal;
    grpo.stop = stop;
    grpo.write_report = [](const std::filesystem::path& run_dir) {
      write_report(run_dir);
      write_trace(run_dir);
    };
    return run_grpo(grpo, communicator, Logger("learner " + std::to_string(communicator.rank())));
  });
}

int sft_command(const std::vector<std::string>& words, const Environment& environment) {
  return supervised_command(SupervisedKind::kSft, words, environment);
}

int pretrain_command(const std::vector<std::string>& words, const Environment& environment) {
  return supervised_command(SupervisedKind::kPretrain, words, environment);
}

int dpo_command(const std::vector<std::string>& words, const Environment& environment) {
  return supervised_command(SupervisedKind::kDpo, words, environment);
}

int reward_model_command(const std::vector<std::string>& words, const Environment& environment) {
  RoleOptions options = read_role_options("reward-model", words);
  options.config = with_actual_counts(std::move(options.config), environment);
  at::set_num_threads(options.config.learners.threads);
  const std::function<bool()> stop = stop_on_signals();
  return lead("reward-model", options, environment, [&](Communicator& communicator) {
    return run_reward_model_stage(options.config, options.folder, options.dump, communicator, stop,
                                  Logger("reward-model " + std::to_string(communicator.rank())));
  });
}

int actor_command(const std::vector<std::string>& words, const Environment& environment) {
  const RoleOptions options = read_role_options("actor", words);
  const LaunchCounts counts = read_launch_counts(environment);
  const auto mpi = make_mpi(counts, options.config, false);
  if (mpi) mpi->started();
  at::set_num_threads(options.config.actors.threads);
  ActorOptions actor;
  actor.local = options.config;
  actor.load_model = model_from;
  actor.stop = stop_on_signals();
  actor.connect = hub_connector(options, actor.stop);
  try {
    find_hub(options, actor.stop);  // its token is there when it is
    actor.hello = hello_of(Role::kActor, options, counts);
    if (counts.local_rank >= 0) actor.local_rank = counts.local_rank;
    return leave_run(run_actor(actor, Logger("actor " + std::to_string(actor.hello.rank))), options);
  } catch (const std::exception& error) {
    std::cerr << "troupe actor: " << error.what() << std::endl;
    return leave(exit_code_of(error));
  }
}

int rewarder_command(const std::vector<std::string>& words, const Environment& environment) {
  const RoleOptions options = read_role_options("rewarder", words);
  const LaunchCounts counts = read_launch_counts(environment);
  const auto mpi = make_mpi(counts, options.config, false);
  if (mpi) mpi->started();
  RewarderOptions rewarder;
  rewarder.verifiers = options.config.rewarders.verifiers;
  rewarder.heartbeat_s = options.config.deadline.heartbeat_s;
  rewarder.reconnect_s = options.config.deadline.reconnect_s;
  rewarder.verifier_command = own_verifier_command();
  rewarder.stop = stop_on_signals();
  rewarder.connect = hub_connector(options, rewarder.stop);
  try {
    find_hub(options, rewarder.stop);  // its token is there when it is
    rewarder.hello = hello_of(Role::kRewarder, options, counts);
    return leave_run(run_rewarder(rewarder, Logger("rewarder " + std::to_string(rewarder.hello.rank))), options);
  } catch (const std::exception& error) {
    std::cerr << "troupe rewarder: " << error.what() << std::endl;
    return leave(exit_code_of(error));
  }
}

}  // namespace troupe
