#include "actors/engine.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <unistd.h>

#include <algorithm>
#include <iomanip>
#include <sstream>
#include <string>
#include <utility>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/base/random.h"

// N drawn rows, T rows of a forward, H hidden, V vocabulary.

namespace troupe {
namespace {

constexpr std::int64_t kLogitsPerTask = 16384;  // below, handing rows to another thread costs more than it saves

std::int64_t positions_of(const Architecture& architecture, const EngineOptions& options) {
  const std::int64_t limit = architecture.max_positions;
  return options.max_tokens > 0 ? std::min(options.max_tokens, limit) : limit;
}

/// Pages of the cache: what the slots can need, as far as the memory goes.
std::int64_t cache_pages(const Architecture& architecture, const EngineOptions& options, at::ScalarType dtype) {
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  const std::int64_t one = pages_of(positions_of(architecture, options)) + 1;  // a prompt and its completion end in a page each
  const double machine = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  const double bytes = options.kv_memory_gib > 0 ? options.kv_memory_gib * kGiB : machine / 2;
  const auto page_bytes = static_cast<double>(KvCache::page_bytes(architecture, dtype));
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
  result.prefill_tokens = options.prefill_tokens;
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
      model_(parameters),
      version_(version),
      cache_(parameters.architecture(), cache_pages(parameters.architecture(), options, parameters.flat().scalar_type()),
             parameters.flat().scalar_type()),
      scheduler_(scheduler_options(parameters.architecture(), options, cache_.pages)),
      drawn_(static_cast<std::size_t>(options.slots)),
      scratch_(static_cast<std::size_t>(options.slots)) {}

void Engine::set_weights(Parameters parameters, std::uint64_t version) {
  check(parameters.architecture() == model_.parameters().architecture(), "Engine::set_weights: another architecture");
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
  model_ = Transformer(std::move(weights.parameters));
  if (on_new_weights_ != OnNewWeights::kKeep) scheduler_.forget_caches();
}

std::vector<FinishedRequest> Engine::step() {
  if (pending_ && scheduler_.active() == 0) {
    use(std::move(*pending_));
    pending_.reset();
    scheduler_.set_admission(true);
  }
  const ForwardPlan& plan = scheduler_.plan();
  if (plan.ids.empty()) return {};

  const c10::InferenceMode no_autograd;
  const at::Tensor logits_NV = logits_of(plan);
  ++stats_.forwards;
  stats_.drawn_tokens += plan.draws.size();
  stats_.prefill_rows += plan.ids.size() - plan.draws.size();
  stats_.preemptions = scheduler_.preemptions();
  draw(logits_NV);
  return scheduler_.record({drawn_.data(), plan.draws.size()}, version_);
}

at::Tensor Engine::logits_of(const ForwardPlan& plan) {
  const std::int64_t rows = std::ssize(plan.ids);
  const at::Tensor ids = at::from_blob(const_cast<std::int64_t*>(plan.ids.data()), {rows}, at::kLong);
  at::Tensor hidden = model_.forward_cached(ids, plan.runs, cache_);
  const auto draws = static_cast<std::int64_t>(plan.draws.size());
  if (draws == 0) return {};
  if (draws < rows) {
    hidden = hidden.index_select(0, at::from_blob(const_cast<std::int64_t*>(plan.draws.data()), {draws}, at::kLong));
  }
  return model_.logits(hidden);
}

void Engine::draw(const at::Tensor& logits_NV) {
  if (!logits_NV.defined()) return;
  const std::int64_t vocabulary = logits_NV.size(1);
  const at::Tensor contiguous = logits_NV.contiguous();
  const float* logits = contiguous.const_data_ptr<float>();
  const auto draw_rows = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const auto index = static_cast<std::size_t>(row);
      const DrawPlace place = scheduler_.place_of(index);
      const std::uint64_t seed = place.seed + (fault::spoilt("actor.slot_seed") ? index : 0);
      const double uniform = uniform_at(seed, place.group, place.sample, place.position);
      const std::span<const float> row_of_logits(logits + row * vocabulary, static_cast<std::size_t>(vocabulary));
      try {
        const bool may_stop = static_cast<std::int32_t>(place.position) >= place.sampling->min_tokens;
        const auto banned = may_stop ? std::span<const std::int32_t>() : place.sampling->stop_ids;
        drawn_[index] = draw_token(row_of_logits, *place.sampling, banned, uniform, scratch_[index]);
      } catch (const DeviceError& error) {
        throw DeviceError("group " + std::to_string(place.group) + ", sample " + std::to_string(place.sample) +
                          ", position " + std::to_string(place.position) + ", policy version " +
                          std::to_string(version_) + ": " + error.what());
      }
    }
  };
  at::parallel_for(0, logits_NV.size(0), std::max<std::int64_t>(1, kLogitsPerTask / vocabulary), draw_rows);
}

}  // namespace troupe
