#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "common/collective/communicator.h"
#include "common/model/parameters.h"
#include "learner/objective/policy_loss.h"
#include "learner/objective/trajectory.h"
#include "learner/sharded_optimizer.h"
#include "learner/token_pass.h"

namespace troupe {

/// What an optimizer update was computed from and what came of it: for a dump and for comparing two replays. Sequences stand
/// one after the other in the order in which the ranks trained them, rank 0's first; a vector that the stage has no use for
/// is empty.
struct UpdateTrace {
  std::vector<std::int64_t> sequence_tokens;  // one a sequence: tokens of prompt and completion
  std::vector<std::int64_t> prompt_tokens;    // one a sequence
  std::vector<float> rewards;                 // one a sequence, as the advantages see them
  std::vector<std::int64_t> ids;              // of all tokens
  // One a completion token:
  std::vector<float> sampler_logprobs;
  std::vector<float> old_logprobs;  // that the policy ratio is taken against
  std::vector<float> reference_logprobs;
  std::vector<float> advantages;
  std::vector<float> token_weights;
  std::vector<float> logprobs;
  std::vector<float> entropy;
  double loss = 0;
  // [total] fp32 each; on rank 0 alone.
  at::Tensor weights_before;
  at::Tensor gradients;  // summed over the ranks, before clipping
  at::Tensor weights_after;

  /// Adds a micro-batch's sequences with the numbers of its forward pass.
  void add(std::span<const TokenSequence> sequences, const TokenLogprobs& tokens);
  /// Adds what the policy loss of a micro-batch was taken of.
  void add_policy(std::span<const Trajectory> micro_batch, const TokenBatch& batch);
};

/// `update()`, an update of the optimizer, with the weights before and after and the summed gradients kept in `trace` unless that is
/// null. Collective.
OptimizerStep traced_step(ShardedOptimizer& optimizer, const std::function<OptimizerStep()>& update, UpdateTrace* trace);

/// The whole update of which each rank has traced its own part; the same on every rank but for the tensors, which rank 0
/// alone has. Collective.
UpdateTrace joined(UpdateTrace own, Communicator& communicator);

/// Writes an update as safetensors into `folder`, which is made: batch, forward, gradients, weights_before and weights_after
/// as docs/replay.md describes them, `metadata` in batch's header. @throws ConfigError where the folder cannot be made,
/// TransportError where a file cannot be written.
void write_dump(const std::filesystem::path& folder, const ParameterLayout& layout, const UpdateTrace& trace,
                std::map<std::string, std::string> metadata);

}  // namespace troupe
