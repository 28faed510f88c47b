#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "common/base/logger.h"
#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/model/parameters.h"
#include "learner/update_trace.h"

namespace troupe {

/// A row as ids: the prompt, and what follows it (with the end-of-text token).
struct SftExample {
  std::vector<std::int32_t> prompt;
  std::vector<std::int32_t> completion;
  std::vector<char> trained = {};  // 1 for each completion token that is learnt, 0 for one that is only read; empty: all are
};

struct SftOptions {
  OptimizerConfig optimizer;
  std::int64_t steps = 0;
  std::int64_t batch = 32;            // rows a step, over all ranks
  std::int64_t micro_tokens = 4096;   // token budget of one forward and backward of a rank
  std::function<SftExample(std::uint64_t number)> example;  // the row with this number in training order
  std::function<void(std::int64_t step, double loss, double grad_norm)> on_step;  // rank 0; may be empty
  /// Rank 0, with the first step's update; where it is set, it is so on every rank.
  std::function<void(const UpdateTrace&)> on_first_update;
  std::function<bool()> stop;  // asked after each step; the first rank that says so stops all of them. May be empty
};

/// Supervised fine-tuning of `parameters` (fp32, changed in place) on completions: the mean of -log p over the trained
/// completion tokens of a step's rows, all ranks together. Step s takes rows (s-1) * batch … s * batch - 1. Collective: rank r takes
/// every size()-th row. Returns the number of the last step, on every rank: below `steps` where it was stopped.
std::int64_t run_sft(Parameters& parameters, const SftOptions& options, Communicator& communicator);

}  // namespace troupe
