// How long a synchronous GRPO step takes on one GPU that actors and learner share: generation, advantages, training, weights to the
// actor. The parts are those of a run, without its processes: the engine in exact mode, pack_step, the Trainer (which asserts that
// its log-probabilities are the sampler's bits), the Publisher's shared memory and the actor's WeightSubscriber. Rewards are made
// up.
//   grpo_step_bench [--prompts N] [--group N] [--prompt-tokens N] [--completion-tokens N] [--micro-tokens N] [--steps N]
// Prints one JSON line: seconds of a step, of each phase, tokens a second, peak memory.

#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "actors/engine.h"
#include "actors/weight_subscriber.h"
#include "common/base/error.h"
#include "common/collective/thread_communicator.h"
#include "learner/objective/advantage.h"
#include "learner/objective/packer.h"
#include "learner/publisher.h"
#include "learner/trainer.h"
#include "tests/bench/bench_line.h"
#include "tests/bench/bench_models.h"

using namespace troupe;

namespace {

struct Settings {
  std::map<std::string, std::int64_t> values = {{"--prompts", 64},         {"--group", 8},
                                                {"--prompt-tokens", 256},  {"--completion-tokens", 1024},
                                                {"--micro-tokens", 32768}, {"--steps", 3}};
  std::int64_t operator[](const std::string& name) const { return values.at(name); }
};

Settings parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; i += 2) {
    const auto place = settings.values.find(argv[i]);
    if (place == settings.values.end() || i + 1 >= argc)
      throw ConfigError(std::string("expected an option and its value, found ") + argv[i]);
    place->second = std::stoll(argv[i + 1]);
  }
  return settings;
}

Config config_of(const Settings& settings) {
  Config config;
  config.model.dtype = "bf16";
  config.run.exact = true;
  config.loss.kl = "none";
  config.group.size = static_cast<int>(settings["--group"]);
  config.batch.prompts = static_cast<int>(settings["--prompts"]);
  config.batch.micro_tokens = settings["--micro-tokens"];
  config.sampling.max_tokens = static_cast<int>(settings["--completion-tokens"]);
  return config;
}

EngineOptions engine_options(const Settings& settings) {
  EngineOptions options;
  options.on_gpu = true;
  options.slots = settings["--prompts"] * settings["--group"];
  options.max_tokens = settings["--prompt-tokens"] + settings["--completion-tokens"];
  options.kv_memory_gib = 12;
  return options;
}

SubscriberOptions subscriber_options(const Architecture& architecture) {
  SubscriberOptions options;
  options.architecture = architecture;
  options.path = WeightPath::kSharedMemory;
  options.hub_on_this_host = true;
  options.device = at::kCUDA;
  return options;
}

Parameters start_of(const Architecture& architecture) {
  Parameters parameters(architecture, at::kFloat, at::kCPU);
  initialise_(parameters, 1);
  return parameters;
}

/// Learner and actor of one GPU.
class Bench {
 public:
  explicit Bench(const Settings& settings)
      : settings_(settings),
        config_(config_of(settings)),
        start_(start_of(bench::qwen25_05b())),
        model_(Parameters(start_.architecture(), at::kBFloat16, at::kCUDA), true),
        optimizer_(model_.parameters(), start_.flat(), config_.optimizer, 1000, *communicator_),
        trainer_(config_, model_, nullptr, optimizer_, *communicator_),
        publisher_("grpo_step_bench-" + std::to_string(getpid()), logger_),
        subscriber_(subscriber_options(start_.architecture()), clock_, logger_),
        engine_(start_, 0, engine_options(settings)) {}

  /// The seconds of each phase of step `number`, from 1.
  std::map<std::string, double> step(std::int64_t number) {
    std::map<std::string, double> seconds;
    double begin = now();
    const auto phase = [&](const char* name) {
      at::cuda::getCurrentCUDAStream().synchronize();
      const double end = now();
      seconds[name] = end - begin;
      begin = end;
    };
    StepBatch batch{number, generate(number), {}};
    phase("generation");
    score(batch);
    const StepPlan plan = pack_step(batch, config_.batch, 1).front();
    phase("advantages and packing");
    stats = trainer_.train(plan, [](const std::string&) {});
    check(stats.skipped == 0 && stats.mismatch.largest == 0, "the step trains on the sampler's own log-probabilities");
    phase("training");
    const PublishedWeights published = publisher_.publish(model_.parameters(), static_cast<std::uint64_t>(number));
    subscriber_.offer(published.manifest);
    std::optional<ArrivedWeights> arrived = subscriber_.take();
    for (const double deadline = now() + 60; !arrived && now() < deadline; arrived = subscriber_.take()) usleep(200);
    check(arrived.has_value(), "the actor has the weights");
    engine_.set_weights(std::move(arrived->parameters), arrived->version);
    phase("weights to the actor");
    return seconds;
  }

  TrainStats stats;
  std::int64_t tokens = 0;  // of the last step's completions

 private:
  static double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

  std::vector<std::vector<Trajectory>> generate(std::int64_t step) {
    const std::int64_t prompts = settings_["--prompts"];
    std::map<std::uint64_t, Request> requests;
    for (std::int64_t p = 0; p < prompts; ++p) {
      Request request;
      request.id = request.group = static_cast<std::uint64_t>((step - 1) * prompts + p);
      for (std::int64_t i = 0; i < settings_["--prompt-tokens"]; ++i) {
        request.prompt_ids.push_back(static_cast<std::int32_t>((static_cast<std::int64_t>(request.id) * 7919 + i * 104729) %
                                                               start_.architecture().vocabulary));
      }
      request.samples = static_cast<std::uint32_t>(settings_["--group"]);
      request.sampling.max_tokens = static_cast<std::int32_t>(settings_["--completion-tokens"]);
      requests[request.id] = request;
      engine_.submit(std::move(request));
    }
    std::map<std::uint64_t, std::vector<Trajectory>> groups;
    tokens = 0;
    while (!engine_.idle()) {
      for (FinishedRequest& done : engine_.step()) {
        for (Completion& completion : done.completions)
          groups[done.id].push_back(trajectory(requests.at(done.id), std::move(completion)));
      }
    }
    std::vector<std::vector<Trajectory>> result;
    for (auto& [id, group] : groups) result.push_back(std::move(group));
    return result;
  }

  Trajectory trajectory(const Request& request, Completion completion) {
    Trajectory t;
    t.group = request.group;
    t.sample = completion.sample;
    t.ids = request.prompt_ids;
    t.ids.insert(t.ids.end(), completion.token_ids.begin(), completion.token_ids.end());
    t.prompt_tokens = std::ssize(request.prompt_ids);
    t.sampler_logprobs = std::move(completion.logprobs);
    t.versions = std::move(completion.versions);
    t.reward = completion.token_ids.front() % 2 == 0 ? 1.0 : 0.0;
    tokens += t.completion_tokens();
    return t;
  }

  void score(StepBatch& batch) const {
    std::vector<GroupRewards> rewards;
    for (const auto& group : batch.groups) {
      GroupRewards& own = rewards.emplace_back();
      for (const Trajectory& t : group) own.emplace_back(t.reward);
    }
    const std::vector<GroupAdvantages> all = advantages(config_.loss.advantage, rewards);
    for (std::size_t g = 0; g < all.size(); ++g) {
      for (std::size_t i = 0; i < all[g].size(); ++i) batch.groups[g][i].advantage = all[g][i].value();
    }
  }

  Settings settings_;
  Config config_;
  std::unique_ptr<Communicator> communicator_ = ThreadWorld(1).communicator(0);
  Logger logger_{"bench"};
  SteadyClock clock_;
  Parameters start_;
  Transformer model_;
  ShardedOptimizer optimizer_;
  Trainer trainer_;
  Publisher publisher_;
  WeightSubscriber subscriber_;
  Engine engine_;
};

void measure(const Settings& settings) {
  Bench bench(settings);
  bench.step(1);  // everything is made
  std::map<std::string, double> sums;
  std::vector<double> steps;
  for (std::int64_t i = 0; i < settings["--steps"]; ++i) {
    double whole = 0;
    for (const auto& [phase, seconds] : bench.step(2 + i)) {
      sums[phase] += seconds / static_cast<double>(settings["--steps"]);
      whole += seconds;
    }
    steps.push_back(whole);
  }
  const nlohmann::ordered_json times = bench::percentiles(steps);
  const double median = times["median"];
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(0);
  std::cout << bench::with_origin({{"bench", "grpo_step_bench"},
                                   {"model", "0.5B"},
                                   {"gpu", at::cuda::getCurrentDeviceProperties()->name},
                                   {"settings", settings.values},
                                   {"step_s", times},
                                   {"phases_s", sums},
                                   {"completion_tokens", bench.tokens},
                                   {"completion_tokens_per_s", static_cast<double>(bench.tokens) / median},
                                   {"first_log_ratio", bench.stats.mismatch.largest},
                                   {"peak_gib", static_cast<double>(stats.allocated_bytes[0].peak) / (1 << 30)}})
                   .dump()
            << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    measure(parse(argc, argv));
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << "grpo_step_bench: " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
