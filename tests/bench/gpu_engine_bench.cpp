// Generation on a GPU at real models' shapes with random weights: milliseconds a step, tokens a second, share of what memory and
// matrix units allow, peak memory.
//   gpu_engine_bench [--only TEXT] [--fast] [--top-p P] [--profile]
//   --fast: rows may depend on one another (run.exact = false); --profile: two steps are marked for `ncu --profile-from-start off`
//   Random weights leave a nucleus of almost the whole vocabulary: --top-p measures its worst case.
// Prints one JSON line a workload.

#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "actors/engine.h"
#include "tests/bench/bench_line.h"
#include "tests/bench/bench_models.h"

using namespace troupe;

namespace {

struct Workload {
  std::string name;
  Architecture architecture;
  std::int64_t prompts;
  std::uint32_t samples;
  std::int64_t prompt_tokens;
  std::int32_t completion_tokens;
  double limit;  // tokens a second
};

std::vector<Workload> workloads() {
  const Architecture half = bench::qwen25_05b(), large = bench::qwen25_15b();
  return {{"0.5B, B=256, context 1024", half, 256, 1, 960, 128, 182e3},
          {"1.5B, B=256, context 1024", large, 256, 1, 960, 128, 72e3},
          {"0.5B, B=1", half, 1, 1, 64, 128, 1 / 0.33e-3},
          {"0.5B, GSM8K-like: 32 x 8, 128 in, 256 out", half, 32, 8, 128, 256, 428e3},
          {"0.5B, reasoning-like: 64 x 8, 256 in, 1024 out", half, 64, 8, 256, 1024, 227e3}};
}

double steady_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::vector<Request> requests(const Workload& w, double top_p) {
  std::vector<Request> result;
  for (std::int64_t id = 0; id < w.prompts; ++id) {
    Request request;
    request.id = request.group = static_cast<std::uint64_t>(id);
    for (std::int64_t i = 0; i < w.prompt_tokens; ++i) request.prompt_ids.push_back(static_cast<std::int32_t>((id * 7919 + i * 104729) % w.architecture.vocabulary));
    request.samples = w.samples;
    request.sampling.max_tokens = w.completion_tokens;
    request.sampling.top_p = top_p;
    result.push_back(std::move(request));
  }
  return result;
}

void measure(const Workload& w, const Parameters& parameters, bool exact, double top_p, bool profile) {
  EngineOptions options;
  options.on_gpu = true;
  options.exact = exact;
  options.slots = w.prompts * w.samples;
  options.max_tokens = w.prompt_tokens + w.completion_tokens;
  Engine engine(parameters, 0, options);
  for (int warm = 0; warm < 2; ++warm) {  // the second time everything is made
    for (Request& request : requests(w, top_p)) engine.submit(std::move(request));
    std::vector<double> decode_ms;
    double prefill_s = 0;
    const auto begin = steady_seconds();
    std::uint64_t drawn = 0, tokens = engine.stats().drawn_tokens;
    while (!engine.idle()) {
      const auto rows = engine.stats().prefill_rows;
      const auto start = steady_seconds();
      const std::uint64_t before = engine.stats().drawn_tokens;
      if (profile && warm == 1 && decode_ms.size() == 20) cudaProfilerStart();
      if (profile && warm == 1 && decode_ms.size() == 22) cudaProfilerStop();
      engine.step();
      const double took = steady_seconds() - start;
      drawn = engine.stats().drawn_tokens - before;
      if (engine.stats().prefill_rows == rows && drawn == static_cast<std::uint64_t>(options.slots)) decode_ms.push_back(1e3 * took);
      else prefill_s += took;
    }
    const double seconds = steady_seconds() - begin;
    if (warm == 0) continue;
    tokens = engine.stats().drawn_tokens - tokens;
    const double steps_s = [&] { double sum = 0; for (const double ms : decode_ms) sum += ms / 1e3; return sum; }();
    const double rate = static_cast<double>(decode_ms.size()) * static_cast<double>(options.slots) / steps_s;
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    cudaDeviceProp properties{};
    cudaGetDeviceProperties(&properties, 0);
    nlohmann::ordered_json line = {{"bench", "gpu_engine"}, {"workload", w.name}, {"exact", exact}, {"top_p", top_p}, {"step_ms", bench::percentiles(decode_ms)},
                                   {"decode_tokens_per_s", rate}, {"tokens_per_s", static_cast<double>(tokens) / seconds}, {"share_of_limit", rate / w.limit},
                                   {"whole_share_of_limit", static_cast<double>(tokens) / seconds / w.limit}, {"prefill_s", prefill_s}, {"seconds", seconds},
                                   {"memory_gib", static_cast<double>(total - free) / (1 << 30)}, {"gpu", properties.name}};
    std::cout << bench::with_origin(line).dump() << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string only;
  bool exact = true, profile = false;
  double top_p = 1;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) only = argv[++i];
    if (std::strcmp(argv[i], "--top-p") == 0 && i + 1 < argc) top_p = std::stod(argv[++i]);
    if (std::strcmp(argv[i], "--fast") == 0) exact = false;
    if (std::strcmp(argv[i], "--profile") == 0) profile = true;
  }
  for (const Workload& w : workloads()) {
    if (w.name.find(only) == std::string::npos) continue;
    Parameters parameters(w.architecture, at::kBFloat16, at::kCUDA);
    parameters.flat().normal_(0, 0.02);
    measure(w, parameters, exact, top_p, profile);
    c10::cuda::CUDACachingAllocator::emptyCache();
  }
  return 0;
}
