#include "launch/role_options.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/transport/zmq_peer_channel.h"

namespace troupe {
namespace {

constexpr int kExitResumable = 75;

// A signal handler can reach nothing else; written by the handler alone.
std::atomic<bool> g_stop_requested = false;

void on_signal(int signal) {
  if (signal == SIGINT && g_stop_requested.exchange(true)) _exit(kExitResumable);
  g_stop_requested = true;
}

/// When the run was finished, where it is.
std::optional<std::filesystem::file_time_type> end_of(const RunFolder& folder) {
  std::error_code not_there;
  const auto time = std::filesystem::last_write_time(folder.summary(), not_there);
  return not_there ? std::nullopt : std::optional(time);
}

}  // namespace

RoleOptions read_role_options(const std::string& command, const std::vector<std::string>& words) {
  namespace po = boost::program_options;
  const Arguments arguments = split_arguments(words);
  po::options_description options;
  options.add_options()("run-dir", po::value<std::string>(), "run directory (default: runs/<name of CONFIG>)")(
      "hub", po::value<std::string>(), "the hub's endpoint, e.g. tcp://10.0.0.5:43210 (default: as RUN/hub.json says)")(
      "index", po::value<std::uint32_t>(), "which of its role this process is, for logs")(
      "terminal", "rewrite one progress line, as on a screen");
  if (command == "sft" || command == "pretrain" || command == "dpo" || command == "reward-model") {
    options.add_options()("dump", po::value<std::string>(), "folder for every intermediate of the first step as safetensors");
  } else {
    options.add_options()("strict", "stop with exit code 1 once the run is not learning: short for --run.strict true");
  }
  const auto values = parse_own(command, arguments.own, options, {"CONFIG"});
  RoleOptions role;
  role.config_path = values["CONFIG"].as<std::string>();
  role.overrides = arguments.overrides;
  if (values.count("strict") > 0) role.overrides.push_back("--run.strict=true");
  role.config = load_config(role.config_path, role.overrides);
  const std::filesystem::path by_name = std::filesystem::path("runs") / std::filesystem::path(role.config_path).stem();
  role.folder.root = values.count("run-dir") > 0 ? std::filesystem::path(values["run-dir"].as<std::string>()) : by_name;
  if (values.count("hub") > 0) role.hub = values["hub"].as<std::string>();
  if (values.count("index") > 0) role.index = values["index"].as<std::uint32_t>();
  if (values.count("dump") > 0) role.dump = values["dump"].as<std::string>();
  role.terminal = values.count("terminal") > 0;
  return role;
}

std::string find_hub(const RoleOptions& options, const std::function<bool()>& stop) {
  if (!options.hub.empty()) return options.hub;
  const std::string file = options.folder.hub().string();
  const double startup_s = options.config.deadline.startup_s;
  Deadline deadline = Deadline::after_s(startup_s);
  for (;;) {
    if (const auto address = read_hub_address(options.folder)) {
      check_reachable(*address, host_name());
      return address->endpoint;
    }
    if (stop && stop()) throw TransportError("stopped by a signal while waiting for " + file);
    if (has_live_owner(options.folder)) deadline = Deadline::after_s(startup_s);
    if (deadline.expired()) {
      throw TransportError(file + ": not there after " + shortest(startup_s) +
                           " s; learner rank 0 writes it: is the run started with this --run-dir? Else give --hub ENDPOINT");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

std::function<std::unique_ptr<PeerChannel>()> hub_connector(const RoleOptions& options, std::function<bool()> stop) {
  return [options, stop = std::move(stop), earlier = end_of(options.folder)] {
    const auto end = end_of(options.folder);
    if (end && end != earlier && !has_live_owner(options.folder)) {
      throw ConfigError(options.folder.summary().string() + " is there: the run is finished");
    }
    return std::make_unique<ZmqPeerChannel>(find_hub(options, stop));
  };
}

std::function<bool()> stop_on_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  for (const int signal : {SIGTERM, SIGUSR1, SIGINT}) sigaction(signal, &action, nullptr);
  return [] { return g_stop_requested.load(); };
}

}  // namespace troupe
