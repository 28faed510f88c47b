#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/config/config.h"
#include "common/config/run_folder.h"
#include "common/transport/channel.h"
#include "launch/command_line.h"

namespace troupe {

/// What every role is told on its command line: CONFIG [--run-dir DIR] [--hub ENDPOINT] [--strict] [--section.key value …].
struct RoleOptions {
  std::string config_path;
  Config config;
  std::vector<std::string> overrides;
  RunFolder folder;       // --run-dir, or runs/<name of CONFIG>
  std::string hub;        // --hub, or empty: RUN/hub.json says
  std::optional<std::uint32_t> index;  // --index: which of its role this process is (default: from mpirun or srun, else 0)
  std::filesystem::path dump;  // --dump, of sft and reward-model: where its first step's intermediates go
  bool terminal = false;  // --terminal: standard output is somebody's screen
};
RoleOptions read_role_options(const std::string& command, const std::vector<std::string>& words);

/// The hub's endpoint: --hub, or what RUN/hub.json says. Where that file is not there yet it waits while the run's owner lives on
/// this host (a cold start), and up to deadline.startup_s beyond; `stop` ends the wait.
/// @throws TransportError naming the file and what writes it, or the signal; ConfigError where the hub listens on another host's
/// loopback.
std::string find_hub(const RoleOptions& options, const std::function<bool()>& stop);

/// Makes a fresh channel to where `find_hub` then says, each time it is called. @throws as find_hub; ConfigError where the run has
/// been finished since this function was called, and nobody goes on with it.
std::function<std::unique_ptr<PeerChannel>()> hub_connector(const RoleOptions& options, std::function<bool()> stop);

/// Sets a flag on SIGTERM, SIGUSR1 (preemption) and the first SIGINT; a second SIGINT ends the process at once with 75. The
/// flag is what the result reads. Once a process.
std::function<bool()> stop_on_signals();

}  // namespace troupe
