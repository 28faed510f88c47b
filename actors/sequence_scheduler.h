#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "actors/sampler.h"
#include "common/messages/messages.h"

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
  std::int64_t slots = 64;
  std::int64_t max_tokens = 0;  // positions of a slot
  std::int64_t vocabulary = 0;
  std::int64_t prefill_tokens = 512;  // rows of one forward spent on prompts; running sequences come on top
};

/// A prompt's keys and values to be copied between slots.
struct PrefixCopy {
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::int64_t tokens = 0;
  bool operator==(const PrefixCopy&) const = default;
};

/// One forward: first the copies in order, then a row for each token to be computed. `draws` are the rows whose result
/// a token is to be drawn from, in increasing order.
struct ForwardPlan {
  std::vector<PrefixCopy> copies;
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> positions;
  std::vector<std::int64_t> slots;
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

/// Continuous batching: which token of which sequence is computed next and in which cache slot. Requests start in the
/// order in which they were submitted, as many of their samples as slots are free. A group's prompt is computed once,
/// by the first of its samples that needs it, and copied to the others; a slot whose sample has ended hands the prompt
/// on to the next one. Long prompts are cut into chunks. Bookkeeping only: the engine owns model and cache. One thread
/// at a time.
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
  /// Where row draws[index] of the last plan stands in the random stream.
  DrawPlace place_of(std::size_t index) const;
  /// The tokens drawn for the last plan's `draws`, all with policy `version`. Returns the requests that are now
  /// complete.
  std::vector<FinishedRequest> record(std::span<const DrawnToken> drawn, std::uint64_t version);

  std::int64_t active() const { return static_cast<std::int64_t>(running_.size()); }
  std::int64_t requests() const { return static_cast<std::int64_t>(requests_.size()); }
  bool idle() const { return requests_.empty(); }
  /// Tokens drawn so far for a request; 0 where there is none of this id.
  std::uint64_t tokens_of(std::uint64_t id) const;

 private:
  struct RequestState {
    Request request;
    std::vector<Completion> completions;
    std::uint32_t started = 0;
    std::uint32_t finished = 0;
    std::uint64_t tokens = 0;
    std::int64_t prefix_slot = -1;  // holds the whole prompt but its last token
    bool prefix_in_work = false;    // a running sample computes it
    std::int64_t prefix_tokens() const { return static_cast<std::int64_t>(request.prompt_ids.size()) - 1; }
  };
  struct Sequence {
    RequestState* request = nullptr;
    std::uint32_t sample = 0;
    std::int64_t slot = 0;
    std::int64_t cached = 0;           // positions whose keys and values are in the slot
    std::vector<std::int32_t> tokens;  // prompt and completion
    std::vector<float> logprobs;
    std::vector<std::uint64_t> versions;
    std::int64_t uncached() const { return static_cast<std::int64_t>(tokens.size()) - cached; }
  };

  void validate(const Request& request) const;
  void admit();
  std::int64_t take_slot(RequestState& request);
  void copy_prefix(Sequence& sequence);
  std::int64_t add_rows(Sequence& sequence, std::int64_t budget);
  void add_row(const Sequence& sequence, std::int64_t position);
  bool append(Sequence& sequence, const DrawnToken& drawn, std::uint64_t version);
  void retire(Sequence& sequence, FinishReason reason);
  void drop(RequestState& request);

  SequenceSchedulerOptions options_;
  bool admission_ = true;
  std::unordered_map<std::uint64_t, std::unique_ptr<RequestState>> requests_;
  std::deque<RequestState*> waiting_;  // with samples that have not started, in order of submission
  std::vector<Sequence> running_;      // in order of their start
  std::vector<std::int64_t> free_slots_;
  std::vector<RequestState*> prefix_of_slot_;  // whose prompt a slot holds, if it is that request's prefix_slot
  ForwardPlan plan_;
  std::vector<std::size_t> drawing_;  // index in running_ of each draw
};

}  // namespace troupe
