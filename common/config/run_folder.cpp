#include "common/config/run_folder.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <random>

#include <nlohmann/json.hpp>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/text.h"

namespace troupe {

std::filesystem::path RunFolder::mpi_memory() const {
  constexpr std::size_t kDigits = 16;
  const std::filesystem::path one_name = std::filesystem::weakly_canonical(lock()).parent_path();
  return "/dev/shm/troupe-mpi-" + xxh3_128_hex(one_name.string()).substr(0, kDigits);
}

void write_hub_address(const RunFolder& folder, const HubAddress& address) {
  const nlohmann::ordered_json json = {
      {"endpoint", address.endpoint}, {"pid", address.pid}, {"host", address.host}, {"incarnation", address.incarnation}};
  write_file_atomically(folder.hub(), json.dump() + "\n");
}

std::optional<HubAddress> read_hub_address(const RunFolder& folder) {
  if (!std::filesystem::exists(folder.hub())) return std::nullopt;
  try {
    const auto json = nlohmann::json::parse(read_file(folder.hub()));
    return HubAddress{json.at("endpoint"), json.at("pid"), json.at("host"), json.at("incarnation")};
  } catch (const nlohmann::json::exception& error) {
    throw ConfigError(folder.hub().string() + ": expected {\"endpoint\", \"pid\", \"host\", \"incarnation\"}: " + error.what());
  }
}

void check_reachable(const HubAddress& hub, const std::string& host) {
  if (hub.host == host || !hub.endpoint.starts_with("tcp://127.")) return;
  throw ConfigError("the hub listens at " + hub.endpoint + " on " + hub.host + ", which " + host +
                    " cannot reach: start the learners with hub.bind = tcp://*:* and, on a network that you trust, hub.insecure = true");
}

std::string make_hub_token(const RunFolder& folder) {
  if (const std::string made_before = read_hub_token(folder); !made_before.empty()) return made_before;
  static constexpr char kHex[] = "0123456789abcdef";
  std::random_device entropy;
  std::string token;
  for (int i = 0; i < 32; ++i) token += kHex[entropy() % 16];
  write_file_atomically(folder.token(), token + "\n", 0600);
  return token;
}

std::string read_hub_token(const RunFolder& folder) {
  if (!std::filesystem::exists(folder.token())) return "";
  return std::string(trim(read_file(folder.token())));
}

namespace {

/// A killed process that nobody has waited for is still to be found, but does nothing any more.
bool is_zombie(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(in, line);
  const std::size_t name_end = line.rfind(") ");
  return name_end != std::string::npos && line.compare(name_end + 2, 1, "Z") == 0;
}

}  // namespace

bool has_live_owner(const RunFolder& folder) {
  std::ifstream lock(folder.lock());
  std::string word, on, host_word, host;
  pid_t pid = 0;
  if (!(lock >> word >> pid >> on >> host_word >> host) || pid <= 0 || host != host_name()) return false;
  return (kill(pid, 0) == 0 || errno == EPERM) && !is_zombie(pid);
}

std::string host_name() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace troupe
