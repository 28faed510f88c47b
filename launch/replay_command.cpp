#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "common/base/error.h"
#include "launch/commands.h"
#include "launch/replay_roles.h"
#include "learner/replay/learner_replay.h"
#include "learner/replay/recorded_run.h"

namespace troupe {
namespace {

namespace po = boost::program_options;

/// Becomes a debugger over this very command without its --under. @throws ConfigError where it cannot be started.
[[noreturn]] void start_under(const std::string& debugger, const std::vector<std::string>& words) {
  if (debugger != "gdb") throw ConfigError("--under " + debugger + ": expected gdb");
  std::vector<std::string> command = {"gdb", "--quiet", "--args", std::filesystem::read_symlink("/proc/self/exe").string(),
                                      "replay"};
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--under") {
      ++i;
    } else if (!words[i].starts_with("--under=")) {
      command.push_back(words[i]);
    }
  }
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  throw ConfigError("--under gdb: cannot start gdb: " + std::string(std::strerror(errno)));
}

/// Whether `path` is `folder` or in it, links followed as far as they exist.
bool is_inside(const std::filesystem::path& path, const std::filesystem::path& folder) {
  const auto inner = std::filesystem::weakly_canonical(path);
  const auto outer = std::filesystem::weakly_canonical(folder);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

po::options_description options_of_replay() {
  po::options_description options;
  options.add_options()("step", po::value<std::int64_t>()->required(), "the trained step to compute again")(
      "role", po::value<std::string>()->default_value("learner"),
      "learner: loss, gradient norm and weights; actor: tokens and log-probabilities; rewarder: rewards")(
      "world", po::value<int>(), "learner ranks, instead of as many as trained it")(
      "dump", po::value<std::string>(), "folder for every intermediate of the step as safetensors")(
      "set", po::value<std::vector<std::string>>()->composing(), "section.key=value: replay with a changed configuration")(
      "under", po::value<std::string>(), "gdb: replay in a debugger");
  return options;
}

}  // namespace

int replay_command(const std::vector<std::string>& words) {
  const auto values = parse_own("replay", words, options_of_replay(), {"RUN"});
  if (values.count("under") > 0) start_under(values["under"].as<std::string>(), words);
  const std::filesystem::path root = values["RUN"].as<std::string>();
  const std::string role = values["role"].as<std::string>();
  const bool learner = role == "learner";
  if (!learner && role != "actor" && role != "rewarder") {
    throw ConfigError("--role " + role + ": expected learner, actor or rewarder");
  }
  LearnerReplay replay;
  replay.step = values["step"].as<std::int64_t>();
  for (const char* name : {"world", "dump"}) {
    if (values.count(name) > 0 && !learner) throw ConfigError(std::string("--") + name + ": goes with --role learner, not " + role);
  }
  if (values.count("world") > 0) {
    replay.world = values["world"].as<int>();
    if (replay.world < 1) throw ConfigError("--world " + std::to_string(replay.world) + ": expected at least 1");
  }
  if (values.count("dump") > 0) {
    replay.dump = values["dump"].as<std::string>();
    if (is_inside(replay.dump, root)) {
      throw ConfigError("--dump " + replay.dump.string() + ": expected a folder outside the run's, which a replay leaves as it is");
    }
  }
  const auto changes = values.count("set") > 0 ? values["set"].as<std::vector<std::string>>() : std::vector<std::string>();
  RecordedRun run(root, changes);
  if (learner) return replay_learner(run, replay, std::cout);
  return role == "actor" ? replay_actor(run, replay.step, std::cout) : replay_rewarder(run, replay.step, std::cout);
}

}  // namespace troupe
