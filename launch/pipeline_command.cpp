#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <thread>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/text.h"
#include "launch/child_process.h"
#include "launch/commands.h"
#include "launch/pipeline.h"
#include "launch/role_options.h"
#include "learner/stages/progress.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

constexpr int kExitResumable = 75;
constexpr auto kLook = std::chrono::milliseconds(50);
constexpr auto kAskAgain = std::chrono::seconds(1);

/// Keeps what a stage was begun with. @throws ConfigError where that was something else: its work would not be this pipeline's.
void keep_command(const fs::path& folder, const std::string& command) {
  const fs::path file = folder / "command.txt";
  if (fs::exists(file)) {
    const std::string before(trim(read_file(file)));
    if (before == command) return;
    throw ConfigError(folder.string() + ": this stage was begun as `" + before + "`, now it is `" + command +
                      "`: take another --run-dir, or delete the folder and those of the stages behind it");
  }
  fs::create_directories(folder);
  write_file_atomically(file, command + "\n");
}

/// Runs the command to its end; told to stop, it lets the stage write its checkpoint.
int run_stage(const PipelineStage& stage, const std::vector<std::string>& words, const std::function<bool()>& stop) {
  std::vector<std::string> command = {fs::read_symlink("/proc/self/exe").string()};
  command.insert(command.end(), words.begin(), words.end());
  if (stage.ranks > 1) {
    std::vector<std::string> mpirun = {"mpirun", "--bind-to", "none", "--oversubscribe", "-np", std::to_string(stage.ranks)};
    if (geteuid() == 0) mpirun.insert(mpirun.begin() + 1, "--allow-run-as-root");
    command.insert(command.begin(), mpirun.begin(), mpirun.end());
  }
  ChildProcess child("stage " + stage.name, command, "");
  auto ask_at = std::chrono::steady_clock::now();
  for (;;) {
    if (const auto code = child.ended()) return *code;
    if (stop() && std::chrono::steady_clock::now() >= ask_at) {  // again and again: mpirun passes it on once its ranks are there
      child.send_signal(SIGUSR1);
      ask_at += kAskAgain;
    }
    std::this_thread::sleep_for(kLook);
  }
}

}  // namespace

int pipeline_command(const std::vector<std::string>& words) {
  po::options_description options;
  options.add_options()("run-dir", po::value<std::string>()->default_value(""), "where each stage gets a folder; default: runs/<name of CONFIG>");
  const auto values = parse_own("pipeline", words, options, {"CONFIG"});
  const fs::path config = values["CONFIG"].as<std::string>();
  const auto given = values["run-dir"].as<std::string>();
  const fs::path root = given.empty() ? fs::path("runs") / config.stem() : fs::path(given);
  const std::vector<PipelineStage> stages = read_pipeline(config);
  const std::function<bool()> stop = stop_on_signals();
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const PipelineStage& stage = stages[i];
    const std::vector<std::string> command = command_of(stage, stages, root);
    keep_command(root / stage.name, join(command, " ") + (stage.ranks > 1 ? " on " + std::to_string(stage.ranks) + " ranks" : ""));
    const std::string place = "stage " + std::to_string(i + 1) + "/" + std::to_string(stages.size()) + " " + stage.name;
    if (is_finished(stage, root)) {
      std::cout << place << ": done before" << std::endl;
      continue;
    }
    std::cout << place << ": troupe " << join(command, " ") << std::endl;
    const auto start = std::chrono::steady_clock::now();
    const int code = run_stage(stage, command, stop);
    if (code != 0) {
      std::cerr << "troupe pipeline: stage " << stage.name << " " << describe_end(code)
                << (code == kExitResumable ? "; the same command goes on" : "") << std::endl;
      return code > 128 ? kExitResumable : code;  // killed: the same command goes on
    }
    if (!is_finished(stage, root)) throw DeviceError(place + ": it ended without " + (root / stage.name / "summary.json").string());
    std::cout << place << ": done in " << human_duration(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()) << std::endl;
    if (stop()) return kExitResumable;
  }
  return 0;
}

}  // namespace troupe
