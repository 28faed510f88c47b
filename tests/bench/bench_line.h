#pragma once

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "revision.h"

namespace troupe::bench {

/// Median, 10th and 90th percentile (nearest rank) of the measured rates or times.
inline nlohmann::ordered_json percentiles(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](std::size_t percent) { return values[(values.size() - 1) * percent / 100]; };
  return {{"median", at(50)}, {"p10", at(10)}, {"p90", at(90)}, {"samples", values.size()}};
}

/// "AMD EPYC 7B13, 2 cores".
inline std::string device() {
  std::ifstream in("/proc/cpuinfo");
  std::string name = "unknown CPU";
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) {
      name = line.substr(line.find(':') + 2);
      break;
    }
  }
  return name + ", " + std::to_string(std::thread::hardware_concurrency()) + " cores";
}

/// Ends a benchmark's line: where and of which source it was measured.
inline nlohmann::ordered_json with_origin(nlohmann::ordered_json line) {
  line["device"] = device();
  line["revision"] = kRevision;
  return line;
}

}  // namespace troupe::bench
