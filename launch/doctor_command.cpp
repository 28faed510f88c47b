#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <iostream>
#include <optional>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/config/config.h"
#include "common/data/rows.h"
#include "common/model/architecture.h"
#include "common/model/compute_device.h"
#include "common/model/tensor_cut.h"
#include "common/tokenizer/tokenizer.h"
#include "launch/commands.h"
#include "launch/role_options.h"
#include "learner/stages/version_text.h"
#include "rewarders/reward.h"

namespace troupe {
namespace {

std::uint64_t free_bytes(const std::filesystem::path& path) {
  struct statvfs info {};
  return statvfs(path.c_str(), &info) == 0 ? static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize : 0;
}

bool on_path(const Environment& environment, const std::string& program) {
  const auto path = environment.find("PATH");
  for (std::size_t at = 0; path != environment.end() && at <= path->second.size();) {
    const std::size_t end = std::min(path->second.find(':', at), path->second.size());
    if (std::filesystem::exists(std::filesystem::path(path->second.substr(at, end - at)) / program)) return true;
    at = end + 1;
  }
  return false;
}

std::string slurm_text(const Environment& environment) {
  if (!on_path(environment, "srun")) return "not found: needed for the jobs of slurm/ only";
  std::string kinds;
  FILE* const list = popen("srun --mpi=list 2>&1", "r");
  for (int c = 0; list != nullptr && (c = std::fgetc(list)) != EOF;) kinds += static_cast<char>(c);
  if (list != nullptr) pclose(list);
  return kinds.find("pmix") != std::string::npos ? "found, with pmix" : "found, but `srun --mpi=list` shows no pmix: it cannot start learners";
}

void show_machine(const Environment& environment) {
  std::cout << version_text() << "cores " << sysconf(_SC_NPROCESSORS_ONLN) << ", memory "
            << (static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE)) >> 30) << " GiB\n"
            << "shared memory free " << (free_bytes("/dev/shm") >> 20) << " MiB\n"
            << "disk free here " << (free_bytes(".") >> 30) << " GiB\n"
            << "mpirun " << (on_path(environment, "mpirun") ? "found" : "not found: needed for more than one learner") << '\n'
            << "srun " << slurm_text(environment) << '\n';
}

/// Runs a check and says how it went; whether it held.
bool checked(const std::string& what, const std::function<std::string()>& check) {
  try {
    const std::string found = check();
    std::cout << "ok   " << what << (found.empty() ? "" : ": " + found) << '\n';
    return true;
  } catch (const Error& error) {
    std::cout << "FAIL " << what << ": " << error.what() << '\n';
    return false;
  }
}

/// Where the ranks of an actor compute. @throws ConfigError where GPUs are missing here.
std::string actor_ranks_text(const Config& config) {
  const int ranks = config.actors.tensor_parallel;
  const at::ScalarType dtype = config.model.dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  if (compute_device(config.actors.device, "actors.device", dtype).is_cpu()) return std::to_string(ranks) + " threads of the CPU";
  const auto gpus = static_cast<std::int64_t>(at::getNumGPUs());
  if (gpus < ranks) {
    throw ConfigError("actors.tensor_parallel = " + std::to_string(ranks) + ": expected as many GPUs on a host, found " + std::to_string(gpus));
  }
  return std::to_string(ranks) + " of the " + std::to_string(gpus) + " GPUs here";
}

bool check_config(const Config& config) {
  const bool rewarded = !config.rewards.empty();  // else a recipe of pretraining, SFT, DPO or a reward model
  bool good = checked("configuration", [&] {
    if (rewarded) config.validate_for_training();
    return std::string(rewarded ? "" : "no [reward.NAME] section: looked at as a supervised recipe, which `troupe run` does not take");
  });
  if (config.cold_start.steps == 0 && (rewarded || !config.model.path.empty())) {
    good &= checked("model " + config.model.path, [&] {
      const Architecture a = read_architecture(config.model.path);
      part_of(a, config.learners.tensor_parallel);
      part_of(a, config.actors.tensor_parallel, "actors.tensor_parallel");
      Tokenizer::load(config.model.path);
      return a.model_type + ", " + std::to_string(a.layers) + " layers, hidden " + std::to_string(a.hidden);
    });
  }
  if (config.actors.tensor_parallel > 1) good &= checked("ranks of an actor", [&] { return actor_ranks_text(config); });
  if (rewarded) good &= checked("rewards", [&] {
    RewardSet rewards(config.rewards);
    std::string found = std::to_string(config.rewards.size()) + " components";
    for (const std::string& line : rewards.prepare()) found += "; " + line;
    return found;
  });
  for (const std::string& spec : {config.data.train, config.data.eval}) {
    if (spec.empty()) continue;
    const bool text = !rewarded && spec.find(".jsonl") == std::string::npos && !spec.starts_with("task:");  // as PackedTexts reads it
    good &= checked((text ? "text " : "rows ") + spec, [&] {
      if (text) return std::to_string(read_file(spec).size()) + " bytes";
      const auto rows = open_rows(spec, config.run.seed);
      if (rewarded) {
        question_of(rows->in_order(0), config.data.question_key);
        check_gradable(RewardSet(config.rewards), *rows);
      }
      return std::to_string(rows->size()) + " rows";
    });
  }
  for (const std::string& obstacle : exactness_obstacles(config)) std::cout << "note not exact: " << obstacle << '\n';
  return good;
}

}  // namespace

int doctor_command(const std::vector<std::string>& words, const Environment& environment) {
  std::optional<RoleOptions> options;
  if (!words.empty()) options = read_role_options("doctor", words);
  show_machine(environment);
  return !options || check_config(options->config) ? 0 : 1;
}

}  // namespace troupe
