// What the engine costs beside the model: tokens a second of continuous batching (scheduling, shared prompts,
// sampling), as a share of the bare model decoding as many rows with nothing drawn, and of its matrix products alone.
//   engine_bench [--cpu-time] [--threads N] [--samples N]
// Prints one JSON line for each model and kind of load: full (all completions equally long) and refill (lengths differ,
// twice as many completions as slots).

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cstdlib>
#include <iostream>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "actors/engine.h"
#include "common/base/error.h"
#include "common/model/token_logprobs.h"
#include "tests/bench/bench_line.h"
#include "tests/bench/bench_models.h"
#include "tests/bench/gemm_bound.h"

using namespace troupe;

namespace {

constexpr std::int64_t kSlots = 64;
constexpr std::uint32_t kGroup = 8;
constexpr std::int64_t kPrompt = 16;
constexpr std::int32_t kCompletion = 96;

struct Model {
  std::string name;
  Architecture architecture;
};

std::vector<Model> models() {
  return {{"small", bench::small_model()}, {"quickstart", bench::quickstart_model()}};
}

Parameters random_parameters(const Architecture& architecture) {
  Parameters parameters(architecture, at::kFloat);
  initialise_(parameters, 1);
  return parameters;
}

/// Groups for `completions` completions; with `refill` they end after 1/4 to all of kCompletion tokens.
std::vector<Request> requests(std::int64_t completions, bool refill, std::int64_t vocabulary) {
  std::vector<Request> result;
  for (std::uint64_t id = 0; id < static_cast<std::uint64_t>(completions) / kGroup; ++id) {
    Request request;
    request.id = request.group = id;
    for (std::int64_t i = 0; i < kPrompt; ++i) {
      request.prompt_ids.push_back(
          static_cast<std::int32_t>((static_cast<std::int64_t>(id) * 13 + i * 7) % vocabulary));
    }
    request.samples = kGroup;
    request.sampling.max_tokens = refill ? static_cast<std::int32_t>(kCompletion * (1 + id % 4) / 4) : kCompletion;
    result.push_back(request);
  }
  return result;
}

/// Runs all requests; the tokens drawn.
std::uint64_t generate(const Parameters& parameters, const std::vector<Request>& work, std::uint64_t* rows) {
  EngineOptions options;
  options.slots = kSlots;
  options.max_tokens = kPrompt + kCompletion;
  Engine engine(parameters, 0, options);
  for (const Request& request : work) engine.submit(request);
  std::uint64_t tokens = 0;
  while (!engine.idle()) {
    for (const FinishedRequest& finished : engine.step()) {
      for (const Completion& completion : finished.completions) tokens += completion.token_ids.size();
    }
  }
  check(tokens == engine.stats().drawn_tokens, "every token drawn is in a completion");
  if (rows != nullptr) *rows = engine.stats().drawn_tokens + engine.stats().prefill_rows;
  return tokens;
}

/// The model alone: kCompletion forwards of kSlots rows with their logits.
void decode(const Transformer& model) {
  const c10::InferenceMode no_autograd;
  const Architecture& a = model.parameters().architecture();
  const std::int64_t pages = pages_of(kPrompt + kCompletion);
  KvCache cache(a, kSlots * pages, at::kFloat);
  const at::Tensor ids = at::ones({kSlots}, at::kLong);
  std::vector<std::int32_t> all(static_cast<std::size_t>(cache.pages));
  std::iota(all.begin(), all.end(), 0);
  std::vector<CachedRun> runs;
  for (std::int64_t slot = 0; slot < kSlots; ++slot) {
    runs.push_back({0, 1, 0, {}, std::span(all).subspan(static_cast<std::size_t>(slot * pages), static_cast<std::size_t>(pages))});
  }
  for (std::int64_t position = kPrompt; position < kPrompt + kCompletion; ++position) {
    for (CachedRun& run : runs) run.first_position = position;
    check(model.logits(model.forward_cached(ids, runs, cache)).numel() == kSlots * a.vocabulary,
          "a row of logits for each sequence");
  }
}

void measure(const bench::Stopwatch& stopwatch, std::size_t samples, int threads, const Model& model) {
  const Parameters parameters = random_parameters(model.architecture);
  const Transformer transformer(parameters);
  auto model_seconds = bench::time_runs(stopwatch, samples, [&] { decode(transformer); });
  std::sort(model_seconds.begin(), model_seconds.end());
  const double model_rate = static_cast<double>(kSlots * kCompletion) / model_seconds[model_seconds.size() / 2];
  const double gemm_rate =
      static_cast<double>(kSlots) / bench::gemm_seconds(stopwatch, model.architecture, kSlots, at::kFloat, false);
  for (const bool refill : {false, true}) {
    const std::vector<Request> work = requests(refill ? 2 * kSlots : kSlots, refill, model.architecture.vocabulary);
    std::uint64_t rows = 0;
    const std::uint64_t tokens = generate(parameters, work, &rows);
    std::vector<double> rates, of_model, of_gemm;
    for (const double seconds : bench::time_runs(stopwatch, samples, [&] { generate(parameters, work, nullptr); })) {
      rates.push_back(static_cast<double>(tokens) / seconds);
      of_model.push_back(static_cast<double>(rows) / seconds / model_rate);
      of_gemm.push_back(static_cast<double>(rows) / seconds / gemm_rate);
    }
    std::cout << bench::with_origin({{"bench", "engine_bench"},
                                     {"model", model.name},
                                     {"dtype", "fp32"},
                                     {"load", refill ? "refill" : "full"},
                                     {"threads", threads},
                                     {"slots", kSlots},
                                     {"completions", refill ? 2 * kSlots : kSlots},
                                     {"tokens", tokens},
                                     {"prompt_rows", rows - tokens},
                                     {"tokens_per_s", bench::percentiles(rates)},
                                     {"rows_share_of_bare_model", bench::percentiles(of_model)},
                                     {"rows_share_of_gemm_bound", bench::percentiles(of_gemm)}})
                     .dump()
              << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    bench::Stopwatch stopwatch;
    std::size_t samples = 5;
    int threads = 1;
    for (int i = 1; i < argc; ++i) {
      const std::string option = argv[i];
      const bool has_value = i + 1 < argc;
      if (option == "--cpu-time") {
        stopwatch.cpu_time = true;
      } else if (option == "--threads" && has_value) {
        threads = std::stoi(argv[++i]);
      } else if (option == "--samples" && has_value) {
        samples = static_cast<std::size_t>(std::stoi(argv[++i]));
      } else {
        throw ConfigError("expected --cpu-time, --threads N or --samples N, found " + option);
      }
    }
    at::set_num_threads(threads);
    for (const Model& model : models()) measure(stopwatch, samples, threads, model);
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << "engine_bench: " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
