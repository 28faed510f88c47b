// How fast a learner trains SmolLM2-135M's shape on this CPU: forward, log-probabilities, backward, clipping and AdamW of one step.
//   cpu_train_bench [--dtype bf16|fp32] [--sequences N] [--length N] [--samples N] [--threads N] [--keep-blocks yes|no]
// All tokens of 4 sequences of 256 are trained. Prints one JSON line: tokens a second, and the milliseconds of each phase.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/collective/thread_communicator.h"
#include "common/model/kept_blocks.h"
#include "common/model/token_logprobs.h"
#include "common/model/transformer.h"
#include "learner/sharded_optimizer.h"
#include "tests/bench/bench_line.h"
#include "tests/bench/bench_models.h"

using namespace troupe;

namespace {

struct Settings {
  at::ScalarType dtype = at::kBFloat16;
  std::int64_t sequences = 4, length = 256;
  std::size_t samples = 5;
  bool keep_blocks = true;
};

Settings parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    if (i + 1 >= argc) throw ConfigError(option + " needs a value");
    const std::string value = argv[i + 1];
    if (option == "--dtype" && (value == "bf16" || value == "fp32")) {
      settings.dtype = value == "bf16" ? at::kBFloat16 : at::kFloat;
    } else if (option == "--sequences") {
      settings.sequences = std::stoll(value);
    } else if (option == "--length") {
      settings.length = std::stoll(value);
    } else if (option == "--samples") {
      settings.samples = static_cast<std::size_t>(std::stoll(value));
    } else if (option == "--keep-blocks" && (value == "yes" || value == "no")) {
      settings.keep_blocks = value == "yes";
    } else if (option == "--threads") {
      at::set_num_threads(std::stoi(value));
    } else {
      throw ConfigError("expected --dtype bf16|fp32, --sequences, --length, --samples, --threads N or --keep-blocks yes|no, found " + option + " " + value);
    }
  }
  return settings;
}

Parameters random_parameters(const Settings& settings) {
  Parameters parameters(bench::smollm2_135m(), settings.dtype);
  for (const ParameterSpec& spec : parameters.layout().tensors) {
    at::Tensor tensor = parameters[spec.name];
    spec.shape.size() == 1 ? tensor.fill_(1.0) : tensor.normal_(0.0, 0.02);
  }
  return parameters;
}

OptimizerConfig optimizer_config() {
  OptimizerConfig config;
  config.weight_decay = 0.01;
  return config;
}

class Bench {
 public:
  explicit Bench(const Settings& settings)
      : model_(random_parameters(settings)),
        optimizer_(model_.parameters(), model_.parameters().flat().to(at::kFloat), optimizer_config(), 1000, *communicator_),
        gradients_(at::zeros({model_.parameters().layout().total}, at::kFloat)) {
    const std::int64_t rows = settings.sequences * settings.length, vocabulary = model_.parameters().architecture().vocabulary;
    batch_.ids_T = at::randint(vocabulary, {rows}, at::kLong);
    targets_ = at::randint(vocabulary, {rows}, at::kLong);
    grad_logp_ = at::full({rows}, -1.0 / static_cast<double>(rows), at::kFloat);
    for (std::int64_t s = 0; s <= settings.sequences; ++s) batch_.sequence_starts.push_back(s * settings.length);
  }

  /// A whole step of cross-entropy; the mean log-probability before it.
  double step(std::int64_t number) {
    last_ = Clock::now();
    gradients_.zero_();
    mark("zero gradients");
    const at::Tensor hidden = model_.forward(batch_, &saved_), head = model_.head_VH();
    mark("forward");
    const TokenLogprobs tokens = token_logprobs(hidden, head, targets_, 1.0, true);
    mark("log-probabilities");
    at::Tensor grad_head = gradients_.narrow(0, model_.head_offset(), head.numel()).view(head.sizes());
    const at::Tensor grad_hidden = token_logprobs_backward(hidden, head, targets_, 1.0, tokens, grad_logp_, grad_head);
    mark("log-probabilities' backward");
    model_.backward(batch_, saved_, grad_hidden, gradients_);
    mark("backward");
    const OptimizerStep result = optimizer_.step(gradients_, number);
    mark("optimizer");
    check(!result.skipped && result.grad_norm > 0, "the gradient is a number");
    return tokens.logp_N.mean().item<double>();
  }

  std::map<std::string, double> milliseconds;  // summed by phase

 private:
  using Clock = std::chrono::steady_clock;
  void mark(const std::string& phase) {
    const Clock::time_point now = Clock::now();
    milliseconds[phase] += std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
  }

  std::unique_ptr<Communicator> communicator_ = ThreadWorld(1).communicator(0);
  Transformer model_;
  ShardedOptimizer optimizer_;
  at::Tensor gradients_, targets_, grad_logp_;
  PackedSequences batch_;
  Activations saved_;
  Clock::time_point last_;
};

void measure(const Settings& settings) {
  if (settings.keep_blocks) keep_large_blocks();
  Bench bench(settings);
  const double chance = -std::log(static_cast<double>(bench::smollm2_135m().vocabulary));
  check(std::abs(bench.step(1) - chance) < 1.0, "log-probabilities of random weights are those of chance");
  bench.milliseconds.clear();
  std::vector<double> rates;
  for (std::size_t i = 0; i < settings.samples; ++i) {
    const auto start = std::chrono::steady_clock::now();
    bench.step(2 + static_cast<std::int64_t>(i));
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    rates.push_back(static_cast<double>(settings.sequences * settings.length) / time.count());
  }
  nlohmann::ordered_json phases;
  for (const auto& [phase, sum] : bench.milliseconds) phases[phase] = std::round(sum / static_cast<double>(settings.samples) * 10) / 10;
  std::cout << bench::with_origin({{"bench", "cpu_train_bench"},
                                   {"model", "135M"},
                                   {"dtype", settings.dtype == at::kFloat ? "fp32" : "bf16"},
                                   {"threads", at::get_num_threads()},
                                   {"sequences", settings.sequences},
                                   {"length", settings.length},
                                   {"tokens_per_s", bench::percentiles(rates)},
                                   {"milliseconds", phases}})
                   .dump()
            << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    measure(parse(argc, argv));
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << "cpu_train_bench: " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
