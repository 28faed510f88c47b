// What a learner rank's memory and step time come to at each ZeRO stage and with activations computed again, on CPUs.
//   mpirun -np N memory_bench [--stage S] [--tensor N] [--recompute none|activations|block] [--tokens N] [--dtype fp32|bf16] [--steps N]
// A Llama of 64 M parameters learns random texts of 512 tokens; `tokens` are those of a rank, or of the ranks that hold a model together. Prints one JSON line: the largest rank's
// resident memory at its peak beyond what the process had before there was a model, seconds a step, and how long rank 0
// waits in them for collectives.

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "common/base/error.h"
#include "common/collective/mpi_environment.h"
#include "learner/stages/start_model.h"
#include "learner/stages/supervised.h"
#include "tests/bench/bench_environment.h"
#include "tests/bench/bench_line.h"

using namespace troupe;

namespace {

constexpr std::int64_t kLength = 512;
const std::map<std::string, Recompute> kRecompute = {
    {"none", Recompute::kNone}, {"activations", Recompute::kActivations}, {"block", Recompute::kBlock}};

struct Settings {
  int stage = 1, tensor = 1;
  std::string recompute = "none", dtype = "fp32";
  std::int64_t tokens = 4096, steps = 3;
};

Settings parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i], value = argv[i + 1];
    if (option == "--stage") {
      settings.stage = std::stoi(value);
    } else if (option == "--tensor") {
      settings.tensor = std::stoi(value);
    } else if (option == "--recompute" && kRecompute.contains(value)) {
      settings.recompute = value;
    } else if (option == "--dtype") {
      settings.dtype = value;
    } else if (option == "--tokens") {
      settings.tokens = std::stoll(value);
    } else if (option == "--steps") {
      settings.steps = std::stoll(value);
    } else {
      throw ConfigError("unknown: " + option + " " + value);
    }
  }
  return settings;
}

Architecture architecture() {
  Architecture a;
  a.vocabulary = 8192;
  a.hidden = 512;
  a.intermediate = 1536;
  a.layers = 18;
  a.heads = 8;
  a.kv_heads = 4;
  a.head_size = 64;
  a.max_positions = kLength;
  a.tied_embeddings = true;
  return a;
}

/// A field of /proc/self/status in MiB.
double status_mib(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key + ":")) return std::stod(line.substr(key.size() + 1)) / 1024;
  }
  throw InternalError("/proc/self/status has no " + key);
}

SupervisedUnit unit(std::uint64_t number) {
  SftExample example;
  for (std::uint64_t i = 0; i < kLength; ++i) {
    const auto id = static_cast<std::int32_t>((number * 7919 + i * i * 31 + 17) % 8192);
    (i == 0 ? example.prompt : example.completion).push_back(id);
  }
  return {example};
}

std::unique_ptr<ShardedOptimizer> optimizer_of(const Parameters& parameters, const OptimizerConfig& config, std::int64_t steps, Communicator& ranks) {
  Parameters start(architecture(), at::kFloat);
  initialise_(start, 1);
  return std::make_unique<ShardedOptimizer>(parameters, start.flat(), config, steps, ranks);
}

void measure(const Settings& settings, Communicator& communicator) {
  const double before_mib = status_mib("VmRSS");
  Config config;
  config.learners.device = "cpu";
  config.learners.zero_stage = settings.stage;
  config.learners.tensor_parallel = settings.tensor;
  config.model.dtype = settings.dtype;
  LearnerRanks learners(config, communicator);
  Communicator& ranks = learners.all();
  const Parameters parameters = compute_parameters(config, architecture(), learners);
  const Transformer model(parameters);
  const auto optimizer = optimizer_of(parameters, {}, settings.steps, ranks);
  std::ofstream("/proc/self/clear_refs") << 5;  // the peak counts from here: what loading takes is another matter
  SupervisedTrainer trainer(model, *optimizer,
                            {settings.tokens / kLength * learners.data().size(), settings.tokens, unit, next_token_objective(), settings.stage,
                             kRecompute.at(settings.recompute)},
                            learners.data());
  std::vector<double> seconds, waited;
  for (std::int64_t step = 1; step <= settings.steps; ++step) {
    const auto start = std::chrono::steady_clock::now();
    const double waited_before = ranks.waited_s();
    const SupervisedStep told = trainer.train(step);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    waited.push_back(ranks.waited_s() - waited_before);
    check(step > 1 || std::abs(told.means[0] - std::log(8192.0)) < 0.2, "random weights know nothing of the texts");
  }
  std::vector<double> peaks(static_cast<std::size_t>(ranks.size()));
  const std::vector<double> own = {status_mib("VmHWM") - before_mib};
  ranks.all_gather(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(peaks)), "peaks");
  if (ranks.rank() > 0) return;
  std::cout << bench::with_origin({{"bench", "memory_bench"},
                                   {"ranks", ranks.size()},
                                   {"zero_stage", settings.stage},
                                   {"tensor_parallel", settings.tensor},
                                   {"recompute", settings.recompute},
                                   {"dtype", settings.dtype},
                                   {"parameters", parameters.whole_layout().total},
                                   {"tokens_a_rank", settings.tokens},
                                   {"peak_mib", std::round(*std::max_element(peaks.begin(), peaks.end()))},
                                   {"step_s", bench::percentiles(seconds)},
                                   {"collective_wait_s", bench::percentiles(waited)}})
                   .dump()
            << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    at::set_num_threads(1);
    MpiEnvironment mpi(read_launch_counts(bench::environment()), 30);
    const auto ranks = mpi.learners(600);
    measure(parse(argc, argv), *ranks);
    ranks->close();
    mpi.leave_together(30);
  } catch (const std::exception& error) {
    std::cerr << "memory_bench: " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
