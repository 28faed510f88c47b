#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "actors/sampler.h"
#include "actors/stop_texts.h"
#include "common/messages/messages.h"
#include "common/model/kv_cache.h"

namespace troupe {

/// One prompt and how its completions are to be drawn.
struct Request {
  std::uint64_t id = 0;  // the caller's; unique among those not finished
  std::vector<std::int32_t> prompt_ids;
  std::uint32_t samples = 1;
  SamplingParams sampling;
  std::uint64_t seed = 0;   // key of the random stream (base/random.h)
  std::uint64_t group = 0;  // the stream's group number
  std::uint32_t first_sample = 0;  // numbers of the samples: from here on
};

/// A request whose samples are all done: in sample order, texts left empty.
struct FinishedRequest {
  std::uint64_t id = 0;
  std::vector<Completion> completions;
};

struct SequenceSchedulerOptions {
  std::int64_t slots = 64;      // sequences that run at once
  std::int64_t max_tokens = 0;  // positions of a sequence
  std::int64_t pages = 0;       // of the cache
  std::int64_t vocabulary = 0;
  std::int64_t prefill_tokens = 512;  // rows of one forward spent on prompts; running sequences come on top
  const Tokenizer* tokenizer = nullptr;  // for stop texts; outlives the scheduler
};

/// One forward: a row for each token to be computed, run after run. `draws` are the rows whose result a token is to be drawn
/// from, in increasing order. In a plan ahead an id of -1 - i stands for the token that draw i of the plan before gives. The runs' page
/// tables belong to the scheduler.
struct ForwardPlan {
  std::vector<std::int64_t> ids;
  std::vector<CachedRun> runs;
  std::vector<std::int64_t> draws;
};

/// What a draw depends on beside the logits.
struct DrawPlace {
  const SamplingParams* sampling = nullptr;
  std::uint64_t seed = 0;
  std::uint64_t group = 0;
  std::uint32_t sample = 0;
  std::uint32_t position = 0;  // within the completion
};

/// Continuous batching: which token of which sequence is computed next, and in which pages of the cache. Requests start in the
/// order in which they were submitted, as many of their samples as slots and pages are free. A group's prompt, but for its last
/// token, is computed once and held once, in pages that all its samples read. Long prompts are cut into chunks. Where pages run
/// out, prompts that nobody reads are dropped first, then the sequence that started last is put off: its tokens stay, and their
/// keys and values are computed again when there is room. Bookkeeping only: the engine owns model and cache. One thread at a time.
class SequenceScheduler {
 public:
  explicit SequenceScheduler(const SequenceSchedulerOptions& options);

  /// @throws ConfigError naming the request and the field that cannot be served.
  void submit(Request request);
  /// Drops a request with all its sequences; false where there is none of this id.
  bool cancel(std::uint64_t id);
  /// Every cached key and value is void (new weights): running sequences will be computed again before they go on.
  void forget_caches();
  /// While false no further sequence starts.
  void set_admission(bool open) { admission_ = open; }

  /// The next forward; valid until the next call. Takes for granted that it is carried out.
  const ForwardPlan& plan();
  /// Whether the forward after the last planned one can be planned before the tokens of that are known: all that runs draws one token
  /// each, nothing waits for a free slot, and there are pages.
  bool can_plan_ahead() const;
  /// That forward, for the sequences that are not known to end. Those that end all the same have a row for nothing.
  const ForwardPlan& plan_ahead();
  /// Where row draws[index] of the last plan stands in the random stream.
  DrawPlace place_of(std::size_t index) const;
  /// The tokens drawn for the `draws` of the oldest plan not recorded yet, all with policy `version`. Returns the requests that are
  /// now complete.
  std::vector<FinishedRequest> record(std::span<const DrawnToken> drawn, std::uint64_t version);

  /// Sequences that have started and not ended.
  std::int64_t active() const { return std::ssize(running_) + std::ssize(put_off_); }
  /// Sequences put off so far, each time counted.
  std::uint64_t preemptions() const { return preemptions_; }
  std::int64_t requests() const { return static_cast<std::int64_t>(requests_.size()); }
  bool idle() const { return requests_.empty(); }
  /// Tokens drawn so far for a request; 0 where there is none of this id.
  std::uint64_t tokens_of(std::uint64_t id) const;

 private:
  /// The tokens of a prompt that all samples share, and their pages.
  struct Prefix {
    std::int64_t tokens = 0;
    std::int64_t cached = 0;
    std::vector<std::int32_t> pages;  // all that it needs, or none
    bool complete() const { return cached == tokens; }
  };
  struct RequestState {
    Request request;
    std::vector<Completion> completions;
    std::uint32_t started = 0;
    std::uint32_t finished = 0;
    std::uint32_t running = 0;
    std::uint64_t tokens = 0;
    Prefix prefix;
  };
  struct Sequence {
    RequestState* request = nullptr;
    std::uint64_t number = 0;          // in the order of running_
    std::int64_t unknown = 0;          // last tokens that are planned with and not drawn yet
    std::uint32_t sample = 0;
    std::int64_t cached = 0;           // positions after the prefix whose keys and values are in `pages`
    std::vector<std::int32_t> pages;   // of the positions after the prefix
    std::vector<std::int32_t> tokens;  // prompt and completion
    std::vector<float> logprobs;
    std::vector<std::uint64_t> versions;
    std::optional<StopTexts> stop_texts;
    std::int64_t own_tokens() const { return static_cast<std::int64_t>(tokens.size()) - request->prefix.tokens; }
  };

  void validate(const Request& request) const;
  void admit();
  Sequence next_sequence();
  void add_prefix(RequestState& request, std::int64_t& budget);
  void add_sequence(std::size_t index, std::int64_t& budget);
  bool grow(std::size_t index, std::int64_t tokens);
  bool take_page(std::vector<std::int32_t>& pages, const RequestState* keep);
  std::int64_t idle_prefix_pages(const RequestState* keep) const;
  void put_off_last();
  void give_back(std::vector<std::int32_t>& pages);
  static bool goes_on(const Sequence& sequence);
  bool append(Sequence& sequence, const DrawnToken& drawn, std::uint64_t version);
  void retire(Sequence& sequence, FinishReason reason);
  void drop(RequestState& request);

  SequenceSchedulerOptions options_;
  bool admission_ = true;
  std::unordered_map<std::uint64_t, std::unique_ptr<RequestState>> requests_;
  std::deque<RequestState*> waiting_;  // with samples that have not started, in order of submission
  std::vector<Sequence> running_;      // in order of their start
  std::deque<Sequence> put_off_;       // started, without pages; the one to go on first in front
  std::vector<std::int32_t> free_pages_;
  std::uint64_t preemptions_ = 0;
  ForwardPlan plan_;
  std::vector<std::size_t> drawing_;  // index in running_ of each draw of the last plan
  std::deque<std::vector<std::uint64_t>> planned_;  // the numbers of the sequences that draw, of each plan not recorded yet
  std::uint64_t started_ = 0;                       // sequences that have entered running_
};

}  // namespace troupe
