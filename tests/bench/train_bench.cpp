// How fast a learner trains on this GPU: forward, log-probabilities, GRPO loss, backward and AdamW of one step.
//   [mpirun -np RANKS] train_bench [--model 0.5B|1.5B|Qwen3-0.6B] [--tokens N] [--length N] [--micro-tokens N] [--samples N]
//     [--zero-stage N] [--profile]
// Shapes are those of Qwen 2.5 and 3, sequences of 1,024 tokens (--length) of which all but the first are trained. Prints one JSON line: tokens a
// second, the share of each phase by the GPU's clock, what rank 0 waits for collectives, the share of what the matrix products alone would take
// at the rate of one large product, and peak memory of rank 0. Ranks have a GPU and --tokens tokens each, and every step meets its deadline or all end. --profile: the second step is marked for `ncu --profile-from-start off`.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAEvent.h>
#include <cuda_profiler_api.h>
#include <c10/cuda/CUDACachingAllocator.h>

#include "common/base/error.h"
#include "common/collective/launch_counts.h"
#include "common/collective/mpi_environment.h"
#include "common/model/compute_device.h"
#include "common/model/token_logprobs.h"
#include "common/model/transformer.h"
#include "learner/objective/policy_loss.h"
#include "learner/sharded_optimizer.h"
#include "learner/step_gradients.h"
#include "tests/bench/bench_environment.h"
#include "tests/bench/bench_line.h"
#include "tests/bench/bench_models.h"
#include "tests/bench/gemm_bound.h"

using namespace troupe;

namespace {

struct Settings {
  std::string model = "0.5B";
  std::int64_t tokens = 32768, length = 1024, micro_tokens = 32768;
  std::size_t samples = 5;
  int stage = 1;
  bool profile = false;
};

Settings parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--profile") {
      settings.profile = true;
      continue;
    }
    if (i + 1 >= argc) throw ConfigError(option + " needs a value");
    const std::string value = argv[++i];
    if (option == "--model") {
      settings.model = value;
    } else if (option == "--tokens") {
      settings.tokens = std::stoll(value);
    } else if (option == "--length") {
      settings.length = std::stoll(value);
    } else if (option == "--micro-tokens") {
      settings.micro_tokens = std::stoll(value);
    } else if (option == "--zero-stage") {
      settings.stage = std::stoi(value);
    } else if (option == "--samples") {
      settings.samples = static_cast<std::size_t>(std::stoll(value));
    } else {
      throw ConfigError("unknown option " + option);
    }
  }
  return settings;
}

Architecture architecture_of(const std::string& name) {
  if (name == "0.5B") return bench::qwen25_05b();
  if (name == "1.5B") return bench::qwen25_15b();
  if (name == "Qwen3-0.6B") return bench::qwen3_06b();
  throw ConfigError("--model " + name + ": expected 0.5B, 1.5B or Qwen3-0.6B");
}

Parameters random_parameters(const Architecture& architecture) {
  Parameters parameters(architecture, at::kBFloat16, at::kCUDA);
  for (const ParameterSpec& spec : parameters.layout().tensors) {
    if (spec.shape.size() == 1) {
      parameters[spec.name].fill_(spec.name.ends_with("bias") ? 0.0 : 1.0);
    } else {
      parameters[spec.name].normal_(0.0, 0.02);
    }
  }
  return parameters;
}

/// Milliseconds of the GPU between marks, summed by phase.
class Phases {
 public:
  void mark(const std::string& phase) {
    marks_.emplace_back(phase, at::cuda::CUDAEvent(cudaEventDefault));
    marks_.back().second.record();
  }
  /// Of each phase: from the mark before to its own. Clears the marks.
  std::map<std::string, double> milliseconds() {
    std::map<std::string, double> sums;
    marks_.back().second.synchronize();
    for (std::size_t i = 1; i < marks_.size(); ++i) {
      sums[marks_[i].first] += double{marks_[i - 1].second.elapsed_time(marks_[i].second)};
    }
    marks_.clear();
    return sums;
  }

 private:
  std::vector<std::pair<std::string, at::cuda::CUDAEvent>> marks_;
};

OptimizerConfig optimizer_config() {
  OptimizerConfig config;
  config.weight_decay = 0.01;
  return config;
}

/// One learner with the sequences of a step.
class Bench {
 public:
  Bench(const Settings& settings, const Architecture& architecture, Communicator& ranks)
      : settings_(settings),
        model_(random_parameters(architecture), true),
        optimizer_(model_.parameters(), model_.parameters().flat().to(at::kFloat).cpu(), optimizer_config(), 1000, ranks),
        gradients_(model_, optimizer_, nullptr, ranks.size() == 1 ? 1 : settings.stage),
        ids_(at::randint(architecture.vocabulary, {ranks.size(), settings.tokens / settings.length, settings.length}, at::kLong)[ranks.rank()]),
        advantages_(at::randn({settings.tokens / settings.length}, at::kDouble)) {
    check(ids_.size(0) > 0, "a step has a sequence");
  }

  /// A whole step; its loss.
  double step(std::int64_t number) {
    phases.mark("start");
    gradients_.clear();
    phases.mark("zero gradients");
    double loss = 0;
    const std::int64_t each = std::max<std::int64_t>(1, settings_.micro_tokens / settings_.length);
    for (std::int64_t first = 0; first < ids_.size(0); first += each) loss += micro_batch(first, std::min(each, ids_.size(0) - first));
    const OptimizerStep result = gradients_.step(number, nullptr);
    phases.mark("optimizer");
    check(!result.skipped, "the gradient is finite");
    grad_norm = result.grad_norm;
    return loss;
  }

  Phases phases;
  double grad_norm = 0;
  double logp = 0;  // mean of the last micro-batch

 private:
  double micro_batch(std::int64_t first, std::int64_t sequences) {
    const at::Tensor ids_SL = ids_.narrow(0, first, sequences), targets = ids_SL.narrow(1, 1, trained_).flatten();
    PackedSequences batch;
    batch.ids_T = ids_SL.narrow(1, 0, trained_).flatten();
    for (std::int64_t s = 0; s <= sequences; ++s) batch.sequence_starts.push_back(s * trained_);
    const at::Tensor hidden = model_.forward(batch, &saved_), head = model_.head_VH();
    phases.mark("forward");
    const TokenLogprobs tokens = token_logprobs(hidden, head, targets, 1.0);
    phases.mark("log-probabilities");
    const at::Tensor grad_logp = loss_gradient(tokens.logp_N.cpu(), batch.sequence_starts, first).cuda();
    phases.mark("loss");
    at::Tensor grad_head = model_.head_in(gradients_.unit(model_.head_unit()));
    const at::Tensor grad_hidden = token_logprobs_backward(hidden, head, targets, 1.0, tokens, grad_logp, grad_head);
    phases.mark("log-probabilities' backward");
    model_.backward(batch, saved_, grad_hidden, gradients_);
    phases.mark("backward");
    return loss_;
  }

  at::Tensor loss_gradient(const at::Tensor& logp_N, const std::vector<std::int64_t>& offsets, std::int64_t first) {
    const auto count = static_cast<std::size_t>(logp_N.numel());
    const std::span<const float> values(logp_N.const_data_ptr<float>(), count);
    std::vector<double> advantage(count), weight(count, 1.0 / static_cast<double>(ids_.size(0) * trained_));
    const double* const advantages = advantages_.const_data_ptr<double>();
    for (std::size_t i = 0; i < count; ++i) {
      advantage[i] = advantages[first + static_cast<std::int64_t>(i) / trained_];
    }
    TokenBatch tokens;
    tokens.offsets = offsets;
    tokens.logp = tokens.old_logp = tokens.sampler_logp = tokens.ref_logp = values;
    tokens.advantage = advantage;
    tokens.weight = weight;
    PolicyLoss result = policy_loss(LossConfig(), tokens);
    loss_ = result.loss;
    logp = logp_N.mean().item<double>();
    return at::tensor(result.grad_logp);
  }

  Settings settings_;
  const std::int64_t trained_ = settings_.length - 1;  // of a sequence; also what the model reads
  Transformer model_;
  ShardedOptimizer optimizer_;
  StepGradients gradients_;
  at::Tensor ids_, advantages_;
  Activations saved_;
  double loss_ = 0;
};

/// FLOP/s of one product of 8192³ in bf16.
double product_rate() {
  const at::Tensor x = at::randn({8192, 8192}, at::TensorOptions(at::kBFloat16).device(at::kCUDA));
  at::Tensor y = at::empty_like(x);
  Phases phases;
  for (int i = 0; i < 25; ++i) {
    if (i == 5) phases.mark("start");
    at::mm_out(y, x, x);
  }
  phases.mark("products");
  return 20 * 2.0 * std::pow(8192.0, 3) / (phases.milliseconds().at("products") * 1e-3);
}

void measure(const Settings& settings, Communicator& ranks) {
  const Architecture architecture = architecture_of(settings.model);
  compute_device("cuda", "train_bench", at::kBFloat16, ranks.rank());
  Bench bench(settings, architecture, ranks);
  bench.step(1);
  // Random weights know nothing of the ids, and their gradient is one.
  const double chance = -std::log(static_cast<double>(architecture.vocabulary));
  check(std::abs(bench.logp - chance) < 1.0, "log-probabilities of random weights are those of chance");
  check(std::isfinite(bench.grad_norm) && bench.grad_norm > 0, "the gradient is a number");
  if (settings.profile) cudaProfilerStart();
  bench.step(2);
  if (settings.profile) cudaProfilerStop();
  bench.phases.milliseconds();
  std::vector<double> rates;
  std::map<std::string, double> sums;
  double total = 0;
  const double waited_s = ranks.waited_s();
  for (std::size_t i = 0; i < settings.samples; ++i) {
    bench.step(3 + static_cast<std::int64_t>(i));
    double whole = 0;
    for (const auto& [phase, time] : bench.phases.milliseconds()) {
      sums[phase] += time;
      whole += time;
    }
    rates.push_back(static_cast<double>(settings.tokens * ranks.size()) / whole * 1e3);
    total += whole;
  }
  if (ranks.rank() > 0) return;
  nlohmann::ordered_json phases;
  for (const auto& [phase, time] : sums) phases[phase] = std::round(time / static_cast<double>(settings.samples) * 100) / 100;
  const double bound = bench::gemm_operations(architecture, settings.tokens, true) / product_rate();
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(0);
  std::cout << bench::with_origin({{"bench", "train_bench"},
                                   {"model", settings.model},
                                   {"ranks", ranks.size()},
                                   {"zero_stage", settings.stage},
                                   {"grad_norm", bench.grad_norm},
                                   {"gpu", at::cuda::getCurrentDeviceProperties()->name},
                                   {"tokens", settings.tokens},
                                   {"length", settings.length},
                                   {"micro_tokens", settings.micro_tokens},
                                   {"tokens_per_s", bench::percentiles(rates)},
                                   {"milliseconds", phases},
                                   {"collective_wait_ms", (ranks.waited_s() - waited_s) * 1e3 / static_cast<double>(settings.samples)},
                                   {"share_of_product_bound", bound * static_cast<double>(settings.samples) / (total * 1e-3)},
                                   {"peak_gib", static_cast<double>(stats.allocated_bytes[0].peak) / (1 << 30)}})
                   .dump()
            << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    MpiEnvironment mpi(read_launch_counts(bench::environment()), 30);
    const auto ranks = mpi.learners(600);
    measure(parse(argc, argv), *ranks);
    ranks->close();
    mpi.leave_together(30);
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << "train_bench: " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
