#include "common/collective/launch_counts.h"

#include <charconv>
#include <sstream>

#include "common/base/error.h"

namespace troupe {
namespace {

using Environment = std::map<std::string, std::string>;

int whole_number(const std::string& name, const std::string& text, int lowest) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < lowest) {
    throw ConfigError("environment variable " + name + ": expected a whole number from " + std::to_string(lowest) +
                      ", found \"" + text + "\"");
  }
  return value;
}

int number_of(const Environment& environment, const std::string& name, int lowest) {
  const auto found = environment.find(name);
  if (found == environment.end())
    throw ConfigError("environment variable " + name + " is missing beside its companions");
  return whole_number(name, found->second, lowest);
}

/// Finds the block of `counts.world_rank` in "2 2 1".
void find_block(LaunchCounts& counts, const std::string& name, const std::string& sizes) {
  std::istringstream words(sizes);
  std::string word;
  int first = 0;
  counts.app_count = 0;
  for (; words >> word; ++counts.app_count) {
    const int block = whole_number(name, word, 1);
    if (counts.world_rank >= first && counts.world_rank < first + block) {
      counts.app_index = counts.app_count;
      counts.app_first_rank = first;
      counts.app_size = block;
    }
    first += block;
  }
  if (first != counts.world_size) {
    throw ConfigError("environment variable " + name + ": \"" + sizes + "\" adds up to " + std::to_string(first) +
                      " ranks, but the job has " + std::to_string(counts.world_size));
  }
}

}  // namespace

LaunchCounts read_launch_counts(const Environment& environment) {
  LaunchCounts counts;
  const auto has = [&](const char* name) { return environment.count(name) > 0; };
  std::string rank_name;
  if (has("OMPI_COMM_WORLD_SIZE")) {
    counts.launcher = LaunchCounts::Launcher::kMpirun;
    rank_name = "OMPI_COMM_WORLD_RANK";
    counts.world_size = number_of(environment, "OMPI_COMM_WORLD_SIZE", 1);
  } else if (has("SLURM_PROCID") && has("SLURM_STEP_NUM_TASKS")) {
    counts.launcher = LaunchCounts::Launcher::kSrun;
    rank_name = "SLURM_PROCID";
    counts.world_size = number_of(environment, "SLURM_STEP_NUM_TASKS", 1);
  } else {
    return counts;
  }
  counts.world_rank = number_of(environment, rank_name, 0);
  if (counts.world_rank >= counts.world_size) {
    throw ConfigError("environment variable " + rank_name + ": rank " + std::to_string(counts.world_rank) +
                      " in a job of " + std::to_string(counts.world_size));
  }
  counts.app_size = counts.world_size;
  if (has("OMPI_COMM_WORLD_LOCAL_RANK")) counts.local_rank = number_of(environment, "OMPI_COMM_WORLD_LOCAL_RANK", 0);
  const std::string blocks = "OMPI_APP_CTX_NUM_PROCS";
  if (counts.launcher == LaunchCounts::Launcher::kMpirun && has(blocks.c_str())) {
    find_block(counts, blocks, environment.at(blocks));
  }
  return counts;
}

}  // namespace troupe
