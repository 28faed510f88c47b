#include "launch/generation.h"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <utility>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "common/base/text.h"
#include "common/model/checkpoint_io.h"
#include "common/model/compute_device.h"
#include "common/model/tensor_cut.h"
#include "launch/model_rows.h"
#include "learner/stages/progress.h"

namespace troupe {
namespace {

namespace po = boost::program_options;

constexpr std::uint32_t kMaxSamples = 65536;
constexpr std::int64_t kMaxSlots = 65536;

/// Now and then a line about how far it is.
class GenerateProgress {
 public:
  explicit GenerateProgress(std::uint64_t rows, std::uint64_t done) : rows_(rows), first_(done) {}

  void report(const Generator& generator, const Engine& engine) {
    const Clock::time_point now = Clock::now();
    if (now - told_ < std::chrono::seconds(5)) return;
    told_ = now;
    const double elapsed = seconds();
    const auto written = static_cast<double>(generator.rows_written() - first_);
    std::cerr << generator.rows_written() << "/" << rows_ << " prompts  " << generator.tokens() << " tokens  "
              << static_cast<long>(static_cast<double>(generator.tokens()) / elapsed) << " tokens/s  " << engine.active() << " active";
    if (written > 0) {
      std::cerr << "  " << human_duration(elapsed / written * static_cast<double>(rows_ - generator.rows_written())) << " left";
    }
    std::cerr << std::endl;
  }

  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  std::uint64_t rows_, first_;
  Clock::time_point start_ = Clock::now(), told_ = start_;
};

GenerateOptions generate_options(const po::variables_map& values, const Architecture& architecture) {
  GenerateOptions options;
  SamplingParams& sampling = options.sampling;
  sampling.temperature = values["temperature"].as<double>();
  sampling.top_p = values["top-p"].as<double>();
  sampling.top_k = values["top-k"].as<std::int32_t>();
  sampling.min_p = values["min-p"].as<double>();
  sampling.max_tokens = values["max-tokens"].as<std::int32_t>();
  sampling.min_tokens = values["min-tokens"].as<std::int32_t>();
  sampling.stop_ids = architecture.eos_ids;
  if (values.count("stop") > 0) sampling.stop_texts = values["stop"].as<std::vector<std::string>>();
  options.samples = values["samples"].as<std::uint32_t>();
  if (options.samples == 0 || options.samples > kMaxSamples) {
    throw ConfigError("--samples = " + std::to_string(options.samples) + ": expected 1 to " + std::to_string(kMaxSamples));
  }
  validate_sampling(sampling);
  options.seed = values["seed"].as<std::uint64_t>();
  options.model = values["model"].as<std::string>();
  return options;
}

EngineOptions engine_options(const po::variables_map& values, bool on_gpu, const Architecture& architecture, const Tokenizer& tokenizer) {
  EngineOptions options;
  options.on_gpu = on_gpu;
  const std::int64_t usual_slots = on_gpu ? 256 : 64, slots = values["slots"].as<std::int64_t>();
  options.slots = slots == 0 ? usual_slots : slots;
  options.kv_memory_gib = values["kv-memory-gib"].as<double>();
  options.tokenizer = &tokenizer;
  if (options.slots < 1 || options.slots > kMaxSlots) {
    throw ConfigError("--slots = " + std::to_string(slots) + ": expected 0 to " + std::to_string(kMaxSlots));
  }
  if (!(options.kv_memory_gib >= 0 && std::isfinite(options.kv_memory_gib))) {
    throw ConfigError("--kv-memory-gib = " + shortest(options.kv_memory_gib) + ": expected 0 or more");
  }
  options.tensor_parallel = values["tensor-parallel"].as<int>();
  if (options.tensor_parallel < 1) {
    throw ConfigError("--tensor-parallel = " + std::to_string(options.tensor_parallel) + ": expected 1 or more");
  }
  part_of(architecture, options.tensor_parallel, "--tensor-parallel");
  return options;
}

/// The parameters of --model, loaded by --threads threads.
Parameters loaded(const po::variables_map& values) {
  use_threads(values["threads"].as<int>());
  return load_parameters(values["model"].as<std::string>(), dtype_named(values["dtype"].as<std::string>()));
}

}  // namespace

void Generation::add_options(po::options_description& options, const SamplingDefaults& defaults) {
  options.add_options()("model", po::value<std::string>()->required(), "Hugging Face directory")(
      "samples", po::value<std::uint32_t>()->default_value(1), "completions of each prompt")(
      "temperature", po::value<double>()->default_value(defaults.temperature), "0: the most probable token")(
      "top-p", po::value<double>()->default_value(defaults.top_p), "")("top-k", po::value<std::int32_t>()->default_value(0), "0: all")(
      "min-p", po::value<double>()->default_value(0.0), "")("max-tokens", po::value<std::int32_t>()->default_value(defaults.max_tokens), "")(
      "min-tokens", po::value<std::int32_t>()->default_value(0), "no stop before so many")(
      "stop", po::value<std::vector<std::string>>()->composing(), "a text that ends a completion; may be given several times")(
      "seed", po::value<std::uint64_t>()->default_value(1), "")("dtype", po::value<std::string>()->default_value("fp32"), "fp32 or bf16")(
      "device", po::value<std::string>()->default_value("auto"), "auto (a GPU where there is one and the dtype is bf16), cpu or cuda")(
      "slots", po::value<std::int64_t>()->default_value(0), "sequences generated at once; 0: 64 on a CPU, 256 on a GPU")(
      "kv-memory-gib", po::value<double>()->default_value(0), "for keys and values; 0: at most half of the machine's")(
      "threads", po::value<int>()->default_value(0), "0: all cores")(
      "tensor-parallel", po::value<int>()->default_value(1), "ranks that hold the model together: threads, on GPUs one each");
}

Generation::Generation(const po::variables_map& values) : Generation(values, loaded(values)) {}

Generation::Generation(const po::variables_map& values, Parameters parameters)
    : dtype_(values["dtype"].as<std::string>()),
      tensor_parallel_(values["tensor-parallel"].as<int>()),
      on_gpu_(compute_device(values["device"].as<std::string>(), "--device", parameters.flat().scalar_type()).is_cuda()),
      architecture_(parameters.architecture()),
      tokenizer_(Tokenizer::load(values["model"].as<std::string>())),
      options_(generate_options(values, architecture_)),
      engine_(std::make_unique<Engine>(std::move(parameters), 0, engine_options(values, on_gpu_, architecture_, tokenizer_))) {}

nlohmann::ordered_json Generation::terms(const RowSource& rows) const {
  Hasher prompts;
  for (std::uint64_t i = 0; i < rows.size(); ++i) prompts.update(rows.in_order(i).json.dump() + "\n");
  return {{"model", std::filesystem::absolute(options_.model).string()},
          {"prompts", prompts.hex()},
          {"samples", options_.samples},
          {"temperature", options_.sampling.temperature},
          {"top-p", options_.sampling.top_p},
          {"top-k", options_.sampling.top_k},
          {"min-p", options_.sampling.min_p},
          {"max-tokens", options_.sampling.max_tokens},
          {"min-tokens", options_.sampling.min_tokens},
          {"stop", options_.sampling.stop_texts},
          {"seed", options_.seed},
          {"dtype", dtype_},
          {"tensor-parallel", tensor_parallel_},
          {"device", on_gpu_ ? "cuda" : "cpu"}};
}

std::uint64_t Generation::run(const RowSource& rows, CompletionsFile& file) {
  if (file.rows() > 0) std::cerr << "going on after " << file.rows() << " prompts\n";
  Generator generator(*engine_, tokenizer_, architecture_, rows, file.rows(), options_, file.out());
  GenerateProgress progress(rows.size(), file.rows());
  while (generator.rows_written() < rows.size() && generator.step()) {
    file.require_written();
    progress.report(generator, *engine_);
  }
  std::cerr << rows.size() << " prompts, " << generator.tokens() << " tokens, "
            << static_cast<long>(static_cast<double>(generator.tokens()) / progress.seconds()) << " tokens/s\n";
  return file.refused() + generator.refused();
}

}  // namespace troupe
