#include "actors/engine.h"

#include <unistd.h>

#include <algorithm>
#include <iomanip>
#include <sstream>
#include <string>
#include <utility>

#include "actors/cuda/cuda_decoder.h"
#include "actors/tensor_decoder.h"
#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/base/random.h"
#include "common/model/kv_cache.h"
#include "common/model/tensor_cut.h"

namespace troupe {
namespace {

std::int64_t positions_of(const Architecture& architecture, const EngineOptions& options) {
  const std::int64_t limit = architecture.max_positions;
  return options.max_tokens > 0 ? std::min(options.max_tokens, limit) : limit;
}

/// Pages of the cache: what the slots can need, as far as the memory goes. `architecture` is that of a rank's part, which has a page of each
/// for its heads.
std::int64_t cache_pages(const Architecture& architecture, const EngineOptions& options, at::ScalarType dtype) {
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  const std::int64_t one = pages_of(positions_of(architecture, options)) + 1;  // a prompt and its completion end in a page each
  const auto at_most = [&] {
    if (options.on_gpu) {
      const double weights = 2.0 * static_cast<double>(ParameterLayout(architecture).total);  // they come too
      return (0.9 * free_gpu_bytes() - weights) * options.tensor_parallel;
    }
    return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 2;
  };
  const double bytes = options.kv_memory_gib > 0 ? options.kv_memory_gib * kGiB : at_most();
  const auto page_bytes = static_cast<double>(KvCache::page_bytes(architecture, dtype)) * options.tensor_parallel;
  const double pages = std::min(bytes / page_bytes, static_cast<double>(options.slots * one));
  if (pages < static_cast<double>(one)) {
    std::ostringstream message;
    message << std::setprecision(3) << bytes / kGiB << " GiB for keys and values (kv_memory_gib): expected at least "
            << static_cast<double>(one) * page_bytes / kGiB << " for one sequence of " << positions_of(architecture, options)
            << " tokens";
    throw ConfigError(message.str());
  }
  return static_cast<std::int64_t>(pages);
}

SequenceSchedulerOptions scheduler_options(const Architecture& architecture, const EngineOptions& options,
                                           std::int64_t pages) {
  SequenceSchedulerOptions result;
  result.slots = options.slots;
  result.max_tokens = positions_of(architecture, options);
  result.pages = pages;
  result.tokenizer = options.tokenizer;
  result.vocabulary = architecture.vocabulary;
  const std::int64_t prefill_tokens = options.on_gpu ? 8192 : 512;
  result.prefill_tokens = options.prefill_tokens > 0 ? options.prefill_tokens : prefill_tokens;
  return result;
}

}  // namespace

OnNewWeights on_new_weights_named(std::string_view name) {
  if (name == "recompute") return OnNewWeights::kRecompute;
  if (name == "keep") return OnNewWeights::kKeep;
  if (name == "finish") return OnNewWeights::kFinish;
  throw ConfigError("actors.on_new_weights = " + std::string(name) + ": expected recompute, keep or finish");
}

Engine::Engine(Parameters parameters, std::uint64_t version, const EngineOptions& options)
    : on_new_weights_(options.on_new_weights),
      architecture_(parameters.architecture()),
      version_(version),
      pages_(cache_pages(part_of(architecture_, options.tensor_parallel, "actors.tensor_parallel"), options, options.on_gpu ? at::kBFloat16 : parameters.flat().scalar_type())),
      scheduler_(scheduler_options(architecture_, options, pages_)),
      drawn_(static_cast<std::size_t>(options.slots)) {
  decoder_ = decoder_of(std::move(parameters), options);
}

std::unique_ptr<Decoder> Engine::decoder_of(Parameters parameters, const EngineOptions& options) const {
  const std::int64_t positions = positions_of(architecture_, options);
  if (options.on_gpu && options.tensor_parallel > 1) {
    return make_cuda_tensor_decoder(parameters, options.tensor_parallel, pages_, options.slots, positions, options.exact);
  }
  if (options.on_gpu) return make_cuda_decoder(parameters, pages_, options.slots, positions, options.exact);
  if (options.tensor_parallel > 1) return make_host_tensor_decoder(parameters, options.tensor_parallel, pages_, options.slots);
  return make_host_decoder(std::move(parameters), pages_, options.slots);
}

void Engine::set_weights(Parameters parameters, std::uint64_t version) {
  check(parameters.architecture() == architecture_, "Engine::set_weights: another architecture");
  NewWeights weights{std::move(parameters), version};
  if (on_new_weights_ == OnNewWeights::kFinish && scheduler_.active() > 0) {
    pending_ = std::move(weights);
    scheduler_.set_admission(false);
    return;
  }
  use(std::move(weights));
}

void Engine::use(NewWeights weights) {
  version_ = weights.version;
  decoder_->set_weights(std::move(weights.parameters));
  if (on_new_weights_ != OnNewWeights::kKeep) scheduler_.forget_caches();
}

std::vector<FinishedRequest> Engine::step() {
  if (pending_ && scheduler_.active() == 0) {
    use(std::move(*pending_));
    pending_.reset();
    scheduler_.set_admission(true);
  }
  if (!flight_) {
    const ForwardPlan& plan = scheduler_.plan();
    if (plan.ids.empty()) return {};
    flight_ = begin(plan);
  }
  std::optional<Flight> next;
  if (decoder_->may_run_ahead() && scheduler_.can_plan_ahead()) next = begin(scheduler_.plan_ahead());
  const std::span<DrawnToken> drawn(drawn_.data(), flight_->draws);
  decoder_->finish(drawn);
  std::vector<FinishedRequest> finished = scheduler_.record(drawn, flight_->version);
  flight_ = next;
  return finished;
}

Engine::Flight Engine::begin(const ForwardPlan& plan) {
  ++stats_.forwards;
  stats_.drawn_tokens += plan.draws.size();
  stats_.prefill_rows += plan.ids.size() - plan.draws.size();
  stats_.preemptions = scheduler_.preemptions();
  draws_.clear();
  for (std::size_t i = 0; i < plan.draws.size(); ++i) draws_.push_back(draw_of(i));
  decoder_->begin(plan, draws_, version_);
  return {plan.draws.size(), version_};
}

Draw Engine::draw_of(std::size_t index) const {
  Draw draw{scheduler_.place_of(index), 0, {}};
  const DrawPlace& place = draw.place;
  const std::uint64_t seed = place.seed + (fault::spoilt("actor.slot_seed") ? index : 0);
  draw.uniform = uniform_at(seed, place.group, place.sample, place.position);
  if (static_cast<std::int32_t>(place.position) < place.sampling->min_tokens) draw.banned = place.sampling->stop_ids;
  return draw;
}

}  // namespace troupe
