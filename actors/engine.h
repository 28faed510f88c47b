#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "actors/decoder.h"
#include "actors/sampler.h"
#include "actors/sequence_scheduler.h"
#include "common/model/parameters.h"

namespace troupe {

/// What becomes of running sequences when new weights arrive.
enum class OnNewWeights {
  kRecompute,  // their caches are computed again: each token's log-probability is that of one forward of its version
  kKeep,       // they go on at once; their caches mix versions
  kFinish,     // they end under the old weights first; nothing new starts until then
};
/// @throws ConfigError naming actors.on_new_weights and its values.
OnNewWeights on_new_weights_named(std::string_view name);

struct EngineOptions {
  std::int64_t slots = 64;            // sequences generated at once
  std::int64_t max_tokens = 0;        // prompt and completion of a sequence; 0: the model's positions
  std::int64_t prefill_tokens = 0;    // prompt rows of one forward; 0: 512 on a CPU, 8192 on a GPU
  double kv_memory_gib = 0;           // keys and values; 0: what the slots can need, at most half of the machine's memory, or 0.9 of the
                                      // GPU's that is free
  bool on_gpu = false;                // compute in bf16 on the GPU, whatever the parameters' device and dtype
  bool exact = true;                  // as Transformer's
  int tensor_parallel = 1;            // ranks that hold the model together, threads of this process
  OnNewWeights on_new_weights = OnNewWeights::kRecompute;
  const Tokenizer* tokenizer = nullptr;  // for stop texts; outlives the engine
};

/// Sums since the engine was made.
struct EngineStats {
  std::uint64_t forwards = 0;
  std::uint64_t drawn_tokens = 0;
  std::uint64_t prefill_rows = 0;  // rows that no token was drawn from, recomputed ones included
  std::uint64_t preemptions = 0;   // sequences put off because the cache was full
};

/// Generates completions with continuous batching. A completion depends on weights, prompt, sampling parameters, seed,
/// group and sample number alone: not on slots, memory, the other requests, their order, or the chunks. One thread at a time;
/// the model's kernels and the sampler use ATen's threads.
class Engine {
 public:
  /// @throws ConfigError where the memory for keys and values does not hold one sequence of options.max_tokens, or the model's heads or
  /// inner width cannot be shared out.
  Engine(Parameters parameters, std::uint64_t version, const EngineOptions& options);

  /// @throws ConfigError naming the request and the field that cannot be served.
  void submit(Request request) { scheduler_.submit(std::move(request)); }
  /// Drops a request; false where it is not there.
  bool cancel(std::uint64_t id) { return scheduler_.cancel(id); }

  /// One forward and one token for each running sequence whose prompt is computed. Returns the requests that are
  /// complete. On a GPU the forward behind it is begun before the tokens of this one are looked at.
  /// @throws DeviceError where a logit is not finite, naming group, sample, position and version.
  std::vector<FinishedRequest> step();

  /// Takes new weights of the same architecture, between two tokens, as options.on_new_weights says.
  void set_weights(Parameters parameters, std::uint64_t version);

  /// The version that draws the next token.
  std::uint64_t version() const { return version_; }
  bool idle() const { return scheduler_.idle(); }
  std::int64_t active() const { return scheduler_.active(); }
  std::int64_t requests() const { return scheduler_.requests(); }
  /// Tokens drawn so far for a running or waiting request.
  std::uint64_t tokens_of(std::uint64_t id) const { return scheduler_.tokens_of(id); }
  const EngineStats& stats() const { return stats_; }

 private:
  struct NewWeights {
    Parameters parameters;
    std::uint64_t version;
  };
  /// A forward that the decoder has begun.
  struct Flight {
    std::size_t draws;
    std::uint64_t version;
  };
  std::unique_ptr<Decoder> decoder_of(Parameters parameters, const EngineOptions& options) const;
  void use(NewWeights weights);
  Flight begin(const ForwardPlan& plan);
  Draw draw_of(std::size_t index) const;

  OnNewWeights on_new_weights_;
  Architecture architecture_;
  std::uint64_t version_;
  std::int64_t pages_;
  SequenceScheduler scheduler_;
  std::unique_ptr<Decoder> decoder_;
  std::optional<NewWeights> pending_;  // kFinish: wait for the running sequences
  std::optional<Flight> flight_;
  std::vector<Draw> draws_;
  std::vector<DrawnToken> drawn_;
  EngineStats stats_;
};

}  // namespace troupe
