// How fast the model generates and trains on this CPU, as a share of its matrix products alone at the same shapes.
//   model_bench [--cpu-time] [--threads N] [--samples N] [--dtype fp32|bf16] [--model small|quickstart] [--work W]
// W is generation or training. Prints one JSON line for each model, compute type, kind of work and number of threads (1 and 2 unless given).

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <ATen/Parallel.h>

#include "common/base/error.h"
#include "common/model/token_logprobs.h"
#include "common/model/transformer.h"
#include "tests/bench/bench_line.h"
#include "tests/bench/bench_models.h"
#include "tests/bench/gemm_bound.h"

using namespace troupe;

namespace {

struct Workload {
  std::string name;
  Architecture architecture;
  std::int64_t sequences, prompt, completion;
  std::int64_t tokens() const { return prompt + completion; }
};

std::vector<Workload> workloads() {
  return {{"small", bench::small_model(), 64, 12, 128}, {"quickstart", bench::quickstart_model(), 64, 16, 84}};
}

struct Settings {
  bench::Stopwatch stopwatch;
  std::size_t samples = 5;
  std::vector<int> threads = {1, 2};
  std::string dtype, model, work;
};

Settings parse(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const auto value = [&] {
      if (i + 1 >= argc) throw ConfigError(option + " needs a value");
      return std::string(argv[++i]);
    };
    if (option == "--cpu-time") {
      settings.stopwatch.cpu_time = true;
    } else if (option == "--threads") {
      settings.threads = {std::stoi(value())};
    } else if (option == "--samples") {
      settings.samples = static_cast<std::size_t>(std::stoi(value()));
    } else if (option == "--dtype") {
      settings.dtype = value();
    } else if (option == "--model") {
      settings.model = value();
    } else if (option == "--work") {
      settings.work = value();
    } else {
      throw ConfigError("unknown option " + option);
    }
  }
  return settings;
}

/// One model with its batch, and the two kinds of work.
class Bench {
 public:
  Bench(const Workload& workload, at::ScalarType dtype)
      : workload_(workload), model_(random_parameters(workload.architecture, dtype)) {
    const std::int64_t rows = workload.sequences * workload.tokens();
    batch_.ids_T = at::randint(workload.architecture.vocabulary, {rows}, at::kLong);
    targets_ = at::randint(workload.architecture.vocabulary, {rows}, at::kLong);
    for (std::int64_t s = 0; s <= workload.sequences; ++s) batch_.sequence_starts.push_back(s * workload.tokens());
    gradients_ = at::zeros({model_.parameters().layout().total}, at::kFloat);
    grad_logp_ = at::randn({rows});
  }

  /// Decodes all completions after their prefill; returns the last step's logits.
  at::Tensor generate() const {
    const std::int64_t pages = pages_of(workload_.tokens());
    KvCache cache(workload_.architecture, workload_.sequences * pages, model_.parameters().flat().scalar_type());
    std::vector<std::int32_t> all(static_cast<std::size_t>(cache.pages));
    std::iota(all.begin(), all.end(), 0);
    std::vector<CachedRun> runs;
    for (std::int64_t s = 0; s < workload_.sequences; ++s) {
      runs.push_back({0, workload_.prompt, 0, {}, std::span(all).subspan(static_cast<std::size_t>(s * pages), static_cast<std::size_t>(pages))});
    }
    const at::Tensor ids_ST = batch_.ids_T.view({workload_.sequences, workload_.tokens()});
    at::Tensor hidden = model_.forward_cached(ids_ST.narrow(1, 0, workload_.prompt).flatten(), runs, cache);
    at::Tensor logits;
    for (std::int64_t position = workload_.prompt; position < workload_.tokens(); ++position) {
      for (CachedRun& run : runs) run.first_position = position, run.tokens = 1;
      hidden = model_.forward_cached(ids_ST.select(1, position).contiguous(), runs, cache);
      logits = model_.logits(hidden);
    }
    return logits;
  }

  /// Forward, log-probabilities, backward; returns the log-probabilities.
  at::Tensor train() {
    const at::Tensor hidden = model_.forward(batch_, &saved_), head = model_.head_VH();
    const TokenLogprobs logprobs = token_logprobs(hidden, head, targets_, 1.0, true);
    at::Tensor grad_head = gradients_.narrow(0, model_.head_offset(), head.numel()).view(head.sizes());
    const at::Tensor grad = token_logprobs_backward(hidden, head, targets_, 1.0, logprobs, grad_logp_, grad_head);
    model_.backward(batch_, saved_, grad, gradients_);
    return logprobs.logp_N;
  }

  /// The last decoded rows have the bits of the packed pass, and the gradients are numbers.
  void check_results() {
    const at::Tensor packed = model_.logits(model_.forward(batch_, nullptr));
    const at::Tensor last = packed.view({workload_.sequences, workload_.tokens(), -1}).select(1, workload_.tokens() - 1);
    check(generate().equal(last), "decoded logits have the bits of the packed pass");
    train();
    check(gradients_.isfinite().all().item<bool>() && gradients_.abs().max().item<double>() > 0, "gradients are numbers");
  }

 private:
  static Parameters random_parameters(const Architecture& architecture, at::ScalarType dtype) {
    Parameters parameters(architecture, dtype);
    initialise_(parameters, 1);
    return parameters;
  }

  Workload workload_;
  Transformer model_;
  PackedSequences batch_;
  Activations saved_;
  at::Tensor targets_, gradients_, grad_logp_;
};

void report(const Workload& workload, const std::string& dtype, int threads, const std::string& work, double tokens,
            const std::vector<double>& seconds, double bound_seconds, double operations) {
  std::vector<double> rates, shares;
  for (const double s : seconds) {
    rates.push_back(tokens / s);
    shares.push_back(bound_seconds / s);
  }
  std::cout << bench::with_origin({{"bench", "model_bench"},
                                   {"model", workload.name},
                                   {"dtype", dtype},
                                   {"work", work},
                                   {"threads", threads},
                                   {"sequences", workload.sequences},
                                   {"tokens_per_sequence", workload.tokens()},
                                   {"tokens_per_s", bench::percentiles(rates)},
                                   {"share_of_gemm_bound", bench::percentiles(shares)},
                                   {"bound_gflops", operations / bound_seconds * 1e-9}})
                   .dump()
            << std::endl;
}

void measure(const Settings& settings, const Workload& workload, const std::string& dtype, int threads) {
  at::set_num_threads(threads);
  const at::ScalarType type = dtype == "fp32" ? at::kFloat : at::kBFloat16;
  const Architecture& a = workload.architecture;
  Bench bench(workload, type);
  bench.check_results();
  const std::int64_t rows = workload.sequences * workload.tokens(), prompts = workload.sequences * workload.prompt;
  if (settings.work != "training") {
    const auto seconds = bench::time_runs(settings.stopwatch, settings.samples, [&] { bench.generate(); });
    const double steps = static_cast<double>(workload.completion);
    const double bound = steps * bench::gemm_seconds(settings.stopwatch, a, workload.sequences, type, false) +
                         bench::gemm_seconds(settings.stopwatch, a, prompts, type, false);
    report(workload, dtype, threads, "generation", static_cast<double>(workload.sequences * workload.completion), seconds,
           bound, steps * bench::gemm_operations(a, workload.sequences, false) + bench::gemm_operations(a, prompts, false));
  }
  if (settings.work != "generation") {
    const auto seconds = bench::time_runs(settings.stopwatch, settings.samples, [&] { bench.train(); });
    report(workload, dtype, threads, "training", static_cast<double>(rows), seconds,
           bench::gemm_seconds(settings.stopwatch, a, rows, type, true), bench::gemm_operations(a, rows, true));
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Settings settings = parse(argc, argv);
    for (const Workload& workload : workloads()) {
      if (!settings.model.empty() && settings.model != workload.name) continue;
      for (const std::string dtype : {"fp32", "bf16"}) {
        if (!settings.dtype.empty() && settings.dtype != dtype) continue;
        for (const int threads : settings.threads) measure(settings, workload, dtype, threads);
      }
    }
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << "model_bench: " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
