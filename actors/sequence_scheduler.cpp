#include "actors/sequence_scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/error.h"

namespace troupe {
namespace {

constexpr std::uint32_t kMaxSamples = 1U << 16;

}  // namespace

SequenceScheduler::SequenceScheduler(const SequenceSchedulerOptions& options)
    : options_(options), prefix_of_slot_(static_cast<std::size_t>(options.slots), nullptr) {
  check(options.slots > 0 && options.max_tokens > 0 && options.vocabulary > 0 && options.prefill_tokens > 0,
        "SequenceScheduler: slots, max_tokens, vocabulary and prefill_tokens must be positive");
  for (std::int64_t slot = options.slots; slot-- > 0;) free_slots_.push_back(slot);
  running_.reserve(static_cast<std::size_t>(options.slots));
}

void SequenceScheduler::validate(const Request& request) const {
  const std::string where = "request " + std::to_string(request.id) + ": ";
  try {
    validate_sampling(request.sampling);
  } catch (const ConfigError& error) {
    throw ConfigError(where + error.what());
  }
  if (request.samples == 0 || request.samples > kMaxSamples || request.first_sample > kMaxSamples - request.samples) {
    throw ConfigError(where + "samples = " + std::to_string(request.samples) + " from " +
                      std::to_string(request.first_sample) + " on: expected 1 to " +
                      std::to_string(kMaxSamples));
  }
  if (request.prompt_ids.empty()) throw ConfigError(where + "prompt_ids is empty: expected at least one token");
  for (std::size_t i = 0; i < request.prompt_ids.size(); ++i) {
    const std::int32_t id = request.prompt_ids[i];
    if (id < 0 || id >= options_.vocabulary) {
      throw ConfigError(where + "prompt_ids[" + std::to_string(i) + "] = " + std::to_string(id) + ": expected 0 to " +
                        std::to_string(options_.vocabulary - 1));
    }
  }
  const auto total = static_cast<std::int64_t>(request.prompt_ids.size()) + request.sampling.max_tokens;
  if (total > options_.max_tokens) {
    throw ConfigError(where + "prompt_ids has " + std::to_string(request.prompt_ids.size()) +
                      " tokens and sampling.max_tokens is " + std::to_string(request.sampling.max_tokens) +
                      ", together " + std::to_string(total) + ": expected at most the " +
                      std::to_string(options_.max_tokens) + " positions of a sequence");
  }
}

void SequenceScheduler::submit(Request request) {
  validate(request);
  if (requests_.contains(request.id)) {
    throw ConfigError("request " + std::to_string(request.id) + ": id is in use by a request that is not finished");
  }
  auto state = std::make_unique<RequestState>();
  state->completions.resize(request.samples);
  state->request = std::move(request);
  waiting_.push_back(state.get());
  requests_.emplace(state->request.id, std::move(state));
}

bool SequenceScheduler::cancel(std::uint64_t id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return false;
  RequestState& request = *found->second;
  std::erase(waiting_, &request);
  std::erase_if(running_, [&](const Sequence& sequence) {
    if (sequence.request == &request) free_slots_.push_back(sequence.slot);
    return sequence.request == &request;
  });
  drop(request);
  drawing_.clear();
  return true;
}

void SequenceScheduler::forget_caches() {
  for (Sequence& sequence : running_) sequence.cached = 0;
  for (auto& [id, request] : requests_) {
    request->prefix_slot = -1;
    request->prefix_in_work = false;
  }
  std::ranges::fill(prefix_of_slot_, nullptr);
}

std::uint64_t SequenceScheduler::tokens_of(std::uint64_t id) const {
  const auto found = requests_.find(id);
  return found == requests_.end() ? 0 : found->second->tokens;
}

const ForwardPlan& SequenceScheduler::plan() {
  plan_.copies.clear();
  plan_.ids.clear();
  plan_.positions.clear();
  plan_.slots.clear();
  plan_.draws.clear();
  drawing_.clear();

  // Before new sequences take slots over: one of them may hold a prompt that a running sample still waits for.
  for (Sequence& sequence : running_) copy_prefix(sequence);
  if (admission_) admit();

  std::int64_t budget = options_.prefill_tokens;
  for (std::size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = running_[i];
    budget -= add_rows(sequence, budget);
    if (sequence.uncached() != 1) continue;
    plan_.draws.push_back(static_cast<std::int64_t>(plan_.ids.size()));
    drawing_.push_back(i);
    add_row(sequence, sequence.cached++);
  }
  // Only now, because this plan's copies come before its rows.
  for (const Sequence& sequence : running_) {
    RequestState& request = *sequence.request;
    if (request.prefix_slot >= 0 || request.prefix_tokens() == 0 || sequence.cached < request.prefix_tokens()) continue;
    request.prefix_slot = sequence.slot;
    request.prefix_in_work = false;
    prefix_of_slot_[static_cast<std::size_t>(sequence.slot)] = &request;
  }
  return plan_;
}

void SequenceScheduler::admit() {
  while (!waiting_.empty() && !free_slots_.empty()) {
    RequestState& request = *waiting_.front();
    Sequence sequence;
    sequence.request = &request;
    sequence.sample = request.request.first_sample + request.started++;
    sequence.slot = take_slot(request);
    const auto max_tokens = static_cast<std::size_t>(request.request.sampling.max_tokens);
    sequence.tokens.reserve(request.request.prompt_ids.size() + max_tokens);
    sequence.tokens = request.request.prompt_ids;
    sequence.logprobs.reserve(max_tokens);
    sequence.versions.reserve(max_tokens);
    copy_prefix(sequence);
    running_.push_back(std::move(sequence));
    if (request.started == request.request.samples) waiting_.pop_front();
  }
}

/// A free slot: the one that holds the request's prompt already, if it is free.
std::int64_t SequenceScheduler::take_slot(RequestState& request) {
  auto chosen = std::ranges::find(free_slots_, request.prefix_slot);
  if (chosen == free_slots_.end()) chosen = std::prev(free_slots_.end());
  const std::int64_t slot = *chosen;
  free_slots_.erase(chosen);

  RequestState*& holder = prefix_of_slot_[static_cast<std::size_t>(slot)];
  if (holder != nullptr && holder != &request) {
    holder->prefix_slot = -1;
    holder = nullptr;
  }
  return slot;
}

void SequenceScheduler::copy_prefix(Sequence& sequence) {
  const RequestState& request = *sequence.request;
  if (request.prefix_slot < 0 || sequence.cached >= request.prefix_tokens()) return;
  if (request.prefix_slot != sequence.slot) {
    plan_.copies.push_back({request.prefix_slot, sequence.slot, request.prefix_tokens()});
  }
  sequence.cached = request.prefix_tokens();
}

/// Adds the rows that bring the sequence's cache up to its last token, as far as the budget goes; returns their number.
std::int64_t SequenceScheduler::add_rows(Sequence& sequence, std::int64_t budget) {
  RequestState& request = *sequence.request;
  if (sequence.cached == 0 && request.prefix_tokens() > 0) {  // the first token of the prompt: one sample computes it
    if (request.prefix_in_work || budget == 0) return 0;
    request.prefix_in_work = true;
  }
  const std::int64_t rows = std::min(sequence.uncached() - 1, budget);
  for (std::int64_t i = 0; i < rows; ++i) add_row(sequence, sequence.cached++);
  return rows;
}

void SequenceScheduler::add_row(const Sequence& sequence, std::int64_t position) {
  plan_.ids.push_back(sequence.tokens[static_cast<std::size_t>(position)]);
  plan_.positions.push_back(position);
  plan_.slots.push_back(sequence.slot);
}

DrawPlace SequenceScheduler::place_of(std::size_t index) const {
  const Sequence& sequence = running_[drawing_[index]];
  const Request& request = sequence.request->request;
  return {&request.sampling, request.seed, request.group, sequence.sample,
          static_cast<std::uint32_t>(sequence.tokens.size() - request.prompt_ids.size())};
}

std::vector<FinishedRequest> SequenceScheduler::record(std::span<const DrawnToken> drawn, std::uint64_t version) {
  check(drawn.size() == drawing_.size(), "SequenceScheduler::record: one token for each draw of the last plan");
  std::vector<FinishedRequest> finished;
  bool any_ended = false;
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    Sequence& sequence = running_[drawing_[i]];
    if (!append(sequence, drawn[i], version)) continue;
    any_ended = true;
    RequestState& request = *sequence.request;
    sequence.request = nullptr;
    if (++request.finished < request.request.samples) continue;
    finished.push_back({request.request.id, std::move(request.completions)});
    drop(request);
  }
  if (any_ended) std::erase_if(running_, [](const Sequence& sequence) { return sequence.request == nullptr; });
  drawing_.clear();
  return finished;
}

/// True where the sequence has ended; its completion is stored and its slot free then.
bool SequenceScheduler::append(Sequence& sequence, const DrawnToken& drawn, std::uint64_t version) {
  RequestState& request = *sequence.request;
  const SamplingParams& sampling = request.request.sampling;
  sequence.tokens.push_back(drawn.id);
  sequence.logprobs.push_back(drawn.logprob);
  sequence.versions.push_back(version);
  ++request.tokens;

  const bool stopped = std::ranges::find(sampling.stop_ids, drawn.id) != sampling.stop_ids.end();
  if (!stopped && sequence.logprobs.size() < static_cast<std::size_t>(sampling.max_tokens)) return false;
  retire(sequence, stopped ? FinishReason::kStop : FinishReason::kLength);
  return true;
}

void SequenceScheduler::retire(Sequence& sequence, FinishReason reason) {
  RequestState& request = *sequence.request;
  Completion& completion = request.completions[sequence.sample - request.request.first_sample];
  const auto prompt = static_cast<std::ptrdiff_t>(request.request.prompt_ids.size());
  completion.sample = sequence.sample;
  completion.token_ids.assign(sequence.tokens.begin() + prompt, sequence.tokens.end());
  completion.logprobs = std::move(sequence.logprobs);
  completion.versions = std::move(sequence.versions);
  completion.finish_reason = reason;
  free_slots_.push_back(sequence.slot);
}

/// Forgets the request; none of its sequences runs any more.
void SequenceScheduler::drop(RequestState& request) {
  std::ranges::replace(prefix_of_slot_, &request, static_cast<RequestState*>(nullptr));
  requests_.erase(request.request.id);
}

}  // namespace troupe
