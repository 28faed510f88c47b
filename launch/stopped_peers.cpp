#include "launch/stopped_peers.h"

#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <span>

#include "common/config/run_folder.h"

namespace troupe {
namespace {

struct Place {
  std::array<char, 64> host{};
  std::int64_t pid = 0;
};

/// Whether the process is stopped: its state in /proc/PID/stat, after the name in brackets, is T.
bool is_stopped(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t name_end = text.rfind(')');
  return name_end != std::string::npos && text.substr(name_end, 3) == ") T";
}

}  // namespace

void StoppedPeers::meet(Communicator& communicator) {
  Place own;
  host_name().copy(own.host.data(), own.host.size() - 1);
  own.pid = getpid();
  std::vector<Place> all(static_cast<std::size_t>(communicator.size()));
  communicator.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(all)), "processes");
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const Place& place = all[static_cast<std::size_t>(rank)];
    if (rank != communicator.rank() && place.host == own.host) peers_.push_back({rank, static_cast<pid_t>(place.pid)});
  }
}

std::vector<std::string> StoppedPeers::kill_stopped() const {
  std::vector<std::string> killed;
  for (const Peer& peer : peers_) {
    if (!is_stopped(peer.pid) || kill(peer.pid, SIGKILL) != 0) continue;
    killed.push_back("learner rank " + std::to_string(peer.rank) + " (pid " + std::to_string(peer.pid) + "), which was stopped");
  }
  return killed;
}

}  // namespace troupe
