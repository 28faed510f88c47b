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
    : options_(options) {
  check(options.slots > 0 && options.max_tokens > 0 && options.vocabulary > 0 && options.prefill_tokens > 0 && options.pages > 0,
        "SequenceScheduler: slots, max_tokens, pages, vocabulary and prefill_tokens must be positive");
  for (std::int64_t page = options.pages; page-- > 0;) free_pages_.push_back(static_cast<std::int32_t>(page));
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
  if (!request.sampling.stop_texts.empty() && options_.tokenizer == nullptr) {
    throw ConfigError(where + "sampling.stop_texts: there is no tokenizer to find them with");
  }
  for (const std::int32_t id : request.sampling.stop_ids) {
    if (id < 0 || id >= options_.vocabulary) {
      throw ConfigError(where + "sampling.stop_ids has " + std::to_string(id) + ": expected 0 to " +
                        std::to_string(options_.vocabulary - 1));
    }
  }
  const std::int64_t prefix = static_cast<std::int64_t>(request.prompt_ids.size()) - 1;
  const std::int64_t pages = pages_of(prefix) + pages_of(total - prefix);
  if (pages > options_.pages) {
    throw ConfigError(where + std::to_string(total) + " tokens of prompt and completion take " + std::to_string(pages) +
                      " pages of " + std::to_string(kPageTokens) + " positions: expected at most the cache's " +
                      std::to_string(options_.pages));
  }
}

void SequenceScheduler::submit(Request request) {
  validate(request);
  if (requests_.contains(request.id)) {
    throw ConfigError("request " + std::to_string(request.id) + ": id is in use by a request that is not finished");
  }
  auto state = std::make_unique<RequestState>();
  state->completions.resize(request.samples);
  state->prefix.tokens = static_cast<std::int64_t>(request.prompt_ids.size()) - 1;
  state->request = std::move(request);
  waiting_.push_back(state.get());
  requests_.emplace(state->request.id, std::move(state));
}

bool SequenceScheduler::cancel(std::uint64_t id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return false;
  RequestState& request = *found->second;
  std::erase(waiting_, &request);
  for (Sequence& sequence : running_) {
    if (sequence.request == &request) give_back(sequence.pages);
  }
  std::erase_if(running_, [&](const Sequence& sequence) { return sequence.request == &request; });
  std::erase_if(put_off_, [&](const Sequence& sequence) { return sequence.request == &request; });
  drop(request);
  return true;
}

void SequenceScheduler::forget_caches() {
  for (Sequence& sequence : running_) sequence.cached = 0;
  for (auto& [id, request] : requests_) request->prefix.cached = 0;
}

std::uint64_t SequenceScheduler::tokens_of(std::uint64_t id) const {
  const auto found = requests_.find(id);
  return found == requests_.end() ? 0 : found->second->tokens;
}

const ForwardPlan& SequenceScheduler::plan() {
  plan_.ids.clear();
  plan_.runs.clear();
  plan_.draws.clear();
  drawing_.clear();
  admit();
  std::int64_t budget = options_.prefill_tokens;
  for (std::size_t i = 0; i < running_.size(); ++i) {  // which may lose its last ones meanwhile
    RequestState& request = *running_[i].request;
    if (!request.prefix.complete()) add_prefix(request, budget);
    if (request.prefix.complete()) add_sequence(i, budget);
  }
  if (plan_.ids.empty()) return plan_;
  std::vector<std::uint64_t>& numbers = planned_.emplace_back();
  for (const std::size_t index : drawing_) numbers.push_back(running_[index].number);
  return plan_;
}

bool SequenceScheduler::can_plan_ahead() const {
  const bool may_start = !put_off_.empty() || (admission_ && !waiting_.empty() && std::ssize(running_) < options_.slots);
  if (planned_.size() != 1 || may_start) return false;
  std::int64_t pages = 0;
  bool any = false;
  for (const Sequence& sequence : running_) {
    if (!sequence.request->prefix.complete() || sequence.cached != sequence.own_tokens()) return false;
    if (!goes_on(sequence)) continue;
    any = true;
    pages += pages_of(sequence.own_tokens() + 1) - std::ssize(sequence.pages);
  }
  return any && pages <= std::ssize(free_pages_);
}

/// Whether the sequence has room for a token behind the one that is being drawn.
bool SequenceScheduler::goes_on(const Sequence& sequence) {
  return static_cast<std::int64_t>(sequence.logprobs.size()) + 1 < sequence.request->request.sampling.max_tokens;
}

const ForwardPlan& SequenceScheduler::plan_ahead() {
  for (Sequence& sequence : running_) {
    if (!goes_on(sequence)) continue;
    sequence.tokens.push_back(-1);
    sequence.unknown = 1;
  }
  plan();
  const std::vector<std::uint64_t>&before = planned_.front(), &now = planned_.back();
  std::size_t from = 0;
  for (std::size_t draw = 0; draw < now.size(); ++draw) {
    while (before[from] != now[draw]) ++from;
    plan_.ids[static_cast<std::size_t>(plan_.draws[draw])] = -1 - static_cast<std::int64_t>(from);
  }
  return plan_;
}

/// Starts sequences while there are a slot and pages for all that is known of them: first those that were put off.
void SequenceScheduler::admit() {
  while (std::ssize(running_) < options_.slots) {
    const bool again = !put_off_.empty();
    if (!again && (!admission_ || waiting_.empty())) return;
    RequestState& request = again ? *put_off_.front().request : *waiting_.front();
    const std::int64_t own_pages = pages_of(again ? put_off_.front().own_tokens() : 1);
    const std::int64_t prefix_pages = request.prefix.pages.empty() ? pages_of(request.prefix.tokens) : 0;
    const std::int64_t needed = own_pages + prefix_pages;
    if (needed > std::ssize(free_pages_) && needed > std::ssize(free_pages_) + idle_prefix_pages(&request)) {
      check(!running_.empty(), "SequenceScheduler: a sequence that fits the cache alone finds no pages in an idle one");
      return;
    }
    Sequence sequence = next_sequence();
    for (std::int64_t i = 0; i < prefix_pages; ++i) take_page(request.prefix.pages, &request);
    for (std::int64_t i = 0; i < own_pages; ++i) take_page(sequence.pages, &request);
    ++request.running;
    sequence.number = started_++;
    running_.push_back(std::move(sequence));
  }
}

SequenceScheduler::Sequence SequenceScheduler::next_sequence() {
  if (!put_off_.empty()) {
    Sequence sequence = std::move(put_off_.front());
    put_off_.pop_front();
    return sequence;
  }
  RequestState& request = *waiting_.front();
  Sequence sequence;
  sequence.request = &request;
  sequence.sample = request.request.first_sample + request.started++;
  const auto max_tokens = static_cast<std::size_t>(request.request.sampling.max_tokens);
  sequence.tokens.reserve(request.request.prompt_ids.size() + max_tokens);
  sequence.tokens = request.request.prompt_ids;
  sequence.logprobs.reserve(max_tokens);
  sequence.versions.reserve(max_tokens);
  if (const auto& texts = request.request.sampling.stop_texts; !texts.empty()) sequence.stop_texts.emplace(texts, *options_.tokenizer);
  if (request.started == request.request.samples) waiting_.pop_front();
  return sequence;
}

void SequenceScheduler::add_prefix(RequestState& request, std::int64_t& budget) {
  Prefix& prefix = request.prefix;
  const std::int64_t rows = std::min(prefix.tokens - prefix.cached, budget);
  if (rows == 0) return;
  const auto first = request.request.prompt_ids.begin() + prefix.cached;
  plan_.ids.insert(plan_.ids.end(), first, first + rows);
  plan_.runs.push_back({prefix.cached, rows, 0, {}, prefix.pages});
  prefix.cached += rows;
  budget -= rows;
}

/// Adds the rows that bring the sequence's cache up to its last token, as far as the budget goes, and draws from the last.
void SequenceScheduler::add_sequence(std::size_t index, std::int64_t& budget) {
  const std::int64_t uncached = running_[index].own_tokens() - running_[index].cached;
  const std::int64_t again = std::min(uncached - 1, budget);
  const bool draws = again == uncached - 1;
  const std::int64_t rows = again + (draws ? 1 : 0);
  if (rows == 0 || !grow(index, running_[index].cached + rows)) return;
  Sequence& sequence = running_[index];
  const Prefix& prefix = sequence.request->prefix;
  const std::int64_t position = prefix.tokens + sequence.cached;
  const auto first = sequence.tokens.begin() + position;
  plan_.ids.insert(plan_.ids.end(), first, first + rows);
  plan_.runs.push_back({position, rows, prefix.tokens, prefix.pages, sequence.pages});
  sequence.cached += rows;
  budget -= again;
  if (!draws) return;
  plan_.draws.push_back(std::ssize(plan_.ids) - 1);
  drawing_.push_back(index);
}

/// Gives a sequence the pages for its first `tokens` positions after the prefix, at the cost of those that started later;
/// false where it was put off itself.
bool SequenceScheduler::grow(std::size_t index, std::int64_t tokens) {
  while (std::ssize(running_[index].pages) < pages_of(tokens)) {
    if (take_page(running_[index].pages, running_[index].request)) continue;
    check(running_.size() > 1, "SequenceScheduler: a sequence that fits the cache alone runs out of pages");
    put_off_last();
    if (running_.size() == index) return false;
  }
  return true;
}

/// Moves a free page to `pages`, where there is none that of a prompt which no running sequence reads (but not `keep`'s).
bool SequenceScheduler::take_page(std::vector<std::int32_t>& pages, const RequestState* keep) {
  for (auto idle = requests_.begin(); free_pages_.empty() && idle != requests_.end(); ++idle) {
    RequestState& request = *idle->second;
    if (request.running > 0 || &request == keep) continue;
    give_back(request.prefix.pages);
    request.prefix.cached = 0;
  }
  if (free_pages_.empty()) return false;
  pages.push_back(free_pages_.back());
  free_pages_.pop_back();
  return true;
}

std::int64_t SequenceScheduler::idle_prefix_pages(const RequestState* keep) const {
  std::int64_t pages = 0;
  for (const auto& [id, request] : requests_) {
    if (request->running == 0 && request.get() != keep) pages += std::ssize(request->prefix.pages);
  }
  return pages;
}

void SequenceScheduler::put_off_last() {
  Sequence& sequence = running_.back();
  give_back(sequence.pages);
  sequence.cached = 0;
  --sequence.request->running;
  put_off_.push_front(std::move(sequence));
  running_.pop_back();
  ++preemptions_;
}

void SequenceScheduler::give_back(std::vector<std::int32_t>& pages) {
  free_pages_.insert(free_pages_.end(), pages.begin(), pages.end());
  pages.clear();
}

DrawPlace SequenceScheduler::place_of(std::size_t index) const {
  const Sequence& sequence = running_[drawing_[index]];
  const Request& request = sequence.request->request;
  return {&request.sampling, request.seed, request.group, sequence.sample,
          static_cast<std::uint32_t>(sequence.tokens.size() - request.prompt_ids.size())};
}

std::vector<FinishedRequest> SequenceScheduler::record(std::span<const DrawnToken> drawn, std::uint64_t version) {
  if (planned_.empty() && drawn.empty()) return {};  // of an empty plan
  check(!planned_.empty() && drawn.size() == planned_.front().size(), "SequenceScheduler::record: one token for each draw of a plan");
  const std::vector<std::uint64_t> numbers = std::move(planned_.front());
  planned_.pop_front();
  std::vector<FinishedRequest> finished;
  bool any_ended = false;
  auto place = running_.begin();
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    while (place != running_.end() && place->number < numbers[i]) ++place;
    if (place == running_.end()) break;
    if (place->number != numbers[i]) continue;  // ended meanwhile
    Sequence& sequence = *place;
    if (!append(sequence, drawn[i], version)) continue;
    any_ended = true;
    RequestState& request = *sequence.request;
    sequence.request = nullptr;
    --request.running;
    if (++request.finished < request.request.samples) continue;
    finished.push_back({request.request.id, std::move(request.completions)});
    drop(request);
  }
  if (any_ended) std::erase_if(running_, [](const Sequence& sequence) { return sequence.request == nullptr; });
  return finished;
}

/// True where the sequence has ended; its completion is stored and its slot free then.
bool SequenceScheduler::append(Sequence& sequence, const DrawnToken& drawn, std::uint64_t version) {
  RequestState& request = *sequence.request;
  const SamplingParams& sampling = request.request.sampling;
  if (sequence.unknown > 0) {
    sequence.tokens[sequence.tokens.size() - static_cast<std::size_t>(sequence.unknown--)] = drawn.id;
  } else {
    sequence.tokens.push_back(drawn.id);
  }
  sequence.logprobs.push_back(drawn.logprob);
  sequence.versions.push_back(version);
  ++request.tokens;

  const bool may_stop = sequence.logprobs.size() > static_cast<std::size_t>(sampling.min_tokens);
  const bool text_stops = sequence.stop_texts && sequence.stop_texts->push(drawn.id);
  const bool stopped = may_stop && (text_stops || std::ranges::find(sampling.stop_ids, drawn.id) != sampling.stop_ids.end());
  if (!stopped && sequence.logprobs.size() < static_cast<std::size_t>(sampling.max_tokens)) return false;
  retire(sequence, stopped ? FinishReason::kStop : FinishReason::kLength);
  return true;
}

void SequenceScheduler::retire(Sequence& sequence, FinishReason reason) {
  RequestState& request = *sequence.request;
  Completion& completion = request.completions[sequence.sample - request.request.first_sample];
  const auto prompt = static_cast<std::ptrdiff_t>(request.request.prompt_ids.size());
  completion.sample = sequence.sample;
  completion.token_ids.assign(sequence.tokens.begin() + prompt, sequence.tokens.begin() + prompt + std::ssize(sequence.logprobs));
  completion.logprobs = std::move(sequence.logprobs);
  completion.versions = std::move(sequence.versions);
  completion.finish_reason = reason;
  give_back(sequence.pages);
}

/// Forgets the request; none of its sequences runs any more.
void SequenceScheduler::drop(RequestState& request) {
  give_back(request.prefix.pages);
  requests_.erase(request.request.id);
}

}  // namespace troupe
