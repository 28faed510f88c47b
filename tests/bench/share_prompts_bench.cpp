// What a group's forward and backward take where its completions share their prompt (batch.share_prompts), beside the same with a prompt
// each, on this CPU.
//   share_prompts_bench [--completions N] [--prompt TOKENS] [--completion TOKENS] [--groups N] [--threads N] [--samples N]
// One thread is timed by the CPU's time. Prints one JSON line for each model and compute type: the ratio of the times, and that as a share of the ratio of the rows.

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "common/base/error.h"
#include "learner/token_pass.h"
#include "tests/bench/bench_line.h"
#include "tests/bench/bench_models.h"
#include "tests/bench/gemm_bound.h"

using namespace troupe;

namespace {

using Settings = std::map<std::string, std::int64_t>;

Settings parse(int argc, char** argv) {
  Settings settings = {{"--completions", 8}, {"--prompt", 256}, {"--completion", 64}, {"--groups", 2}, {"--threads", 1}, {"--samples", 5}};
  for (int i = 1; i < argc; i += 2) {
    if (!settings.contains(argv[i]) || i + 1 == argc) throw ConfigError("expected one of the options and a number, found " + std::string(argv[i]));
    settings[argv[i]] = std::stoll(argv[i + 1]);
  }
  return settings;
}

/// Groups of completions of one model.
class Bench {
 public:
  Bench(const Settings& settings, const Architecture& architecture, at::ScalarType dtype) : model_(random_parameters(architecture, dtype)) {
    const std::int64_t prompt = settings.at("--prompt"), completion = settings.at("--completion");
    for (std::int64_t g = 0; g < settings.at("--groups"); ++g) {
      const at::Tensor head = at::randint(architecture.vocabulary, {prompt}, at::kInt);
      for (std::int64_t s = 0; s < settings.at("--completions"); ++s) {
        ids_.push_back(at::cat({head, at::randint(architecture.vocabulary, {completion}, at::kInt)}));
      }
    }
    for (const at::Tensor& ids : ids_) sequences_.push_back({{ids.const_data_ptr<std::int32_t>(), static_cast<std::size_t>(ids.numel())}, prompt});
    const std::int64_t each = settings.at("--completions"), groups = settings.at("--groups");
    plain_rows_ = groups * each * (prompt + completion - 1);
    shared_rows_ = groups * (prompt + each * (completion - 1));
    grad_logp_ = at::randn({groups * each * completion});
    gradients_ = at::zeros({model_.parameters().layout().total}, at::kFloat);
  }

  /// Of the models' rows.
  double row_ratio() const { return static_cast<double>(plain_rows_) / static_cast<double>(shared_rows_); }
  std::int64_t shared_rows() const { return shared_rows_; }
  std::int64_t plain_rows() const { return plain_rows_; }

  at::Tensor train(bool share) {
    TokenPass pass(model_, sequences_, 1.0, Recompute::kNone, share);
    WholeGradients whole(model_.parameters().layout(), gradients_);
    pass.backward(grad_logp_, whole);
    return pass.tokens().logp_N;
  }

  /// Log-probabilities have the same bits, gradients differ by the order of sums.
  void check_results(double tolerance) {
    const at::Tensor plain = train(false), expected = gradients_.clone();
    gradients_.zero_();
    check(train(true).equal(plain), "shared prompts change no log-probability");
    check((gradients_ - expected).norm().item<double>() < tolerance * expected.norm().item<double>(), "nor gradients, but for rounding");
  }

 private:
  static Parameters random_parameters(const Architecture& architecture, at::ScalarType dtype) {
    Parameters parameters(architecture, dtype);
    initialise_(parameters, 1);
    return parameters;
  }

  Transformer model_;
  std::vector<at::Tensor> ids_;
  std::vector<TokenSequence> sequences_;
  std::int64_t plain_rows_ = 0, shared_rows_ = 0;
  at::Tensor grad_logp_, gradients_;
};

void measure(const Settings& settings, const std::string& model, const Architecture& architecture, const std::string& dtype) {
  at::manual_seed(1);
  Bench bench(settings, architecture, dtype == "fp32" ? at::kFloat : at::kBFloat16);
  bench.check_results(dtype == "fp32" ? 1e-5 : 0.02);
  const bench::Stopwatch stopwatch{.cpu_time = settings.at("--threads") == 1};
  const auto samples = static_cast<std::size_t>(settings.at("--samples"));
  const auto plain = bench::time_runs(stopwatch, samples, [&] { bench.train(false); });
  const auto shared = bench::time_runs(stopwatch, samples, [&] { bench.train(true); });
  const double plain_s = bench::percentiles(plain)["median"], shared_s = bench::percentiles(shared)["median"];
  nlohmann::ordered_json line = {{"bench", "share_prompts_bench"}, {"model", model}, {"dtype", dtype}};
  for (const auto& [option, value] : settings) line[option.substr(2)] = value;
  line["rows_plain"] = bench.plain_rows();
  line["rows_shared"] = bench.shared_rows();
  line["plain_s"] = bench::percentiles(plain);
  line["shared_s"] = bench::percentiles(shared);
  line["ratio"] = plain_s / shared_s;
  line["share_of_row_ratio"] = plain_s / shared_s / bench.row_ratio();
  std::cout << bench::with_origin(line).dump() << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Settings settings = parse(argc, argv);
    at::set_num_threads(static_cast<int>(settings.at("--threads")));
    for (const std::string dtype : {"fp32", "bf16"}) {
      measure(settings, "small", bench::small_model(), dtype);
      measure(settings, "quickstart", bench::quickstart_model(), dtype);
    }
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << "share_prompts_bench: " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
