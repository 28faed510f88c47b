#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "actors/sampler.h"
#include "actors/sequence_scheduler.h"
#include "common/model/parameters.h"

namespace troupe {

/// One token to be drawn, for a row of a plan.
struct Draw {
  DrawPlace place;
  double uniform = 0;  // in [0, 1), a function of the place alone
  /// Ids without probability: the stop ids of a completion that may not end yet.
  std::span<const std::int32_t> banned;
};

/// The error of a row of logits that is not finite, naming where its token stands. `what` says of which kind.
[[noreturn]] void throw_broken_row(const Draw& draw, std::uint64_t version, const std::string& what);

/// Model, cache of keys and values, and sampler of one engine, on one kind of device. One thread at a time.
class Decoder {
 public:
  virtual ~Decoder() = default;

  /// Begins to compute the rows of `plan` and to draw a token for each of its draws. Nothing is referred to afterwards but
  /// the draws' sampling parameters where may_run_ahead() is false.
  virtual void begin(const ForwardPlan& plan, std::span<const Draw> draws, std::uint64_t version) = 0;

  /// The tokens of the oldest plan begun and not finished, in the order of its draws.
  /// @throws DeviceError where a logit is not finite, naming group, sample, position and version.
  virtual void finish(std::span<DrawnToken> drawn) = 0;

  /// Whether a plan that goes on behind the last one begun may be begun before that is finished.
  virtual bool may_run_ahead() const = 0;

  /// Weights of the same architecture; what the cache holds stays.
  virtual void set_weights(Parameters parameters) = 0;
};

/// On the CPU, with a cache of so many pages. Of parameters that are a rank's part of a model, `begin` is collective: the ranks share out
/// the draws, and each has all the tokens.
std::unique_ptr<Decoder> make_host_decoder(Parameters parameters, std::int64_t pages, std::int64_t slots);

}  // namespace troupe
