#include "common/config/run_folder.h"

#include <unistd.h>

#include <array>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/files.h"

namespace troupe {

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

std::string host_name() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace troupe
