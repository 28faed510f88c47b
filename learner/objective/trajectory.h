#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace troupe {

/// One completion as the learner trains it: token ids with the prompt in front, and what the group says about them.
struct Trajectory {
  std::uint64_t group = 0;
  std::uint32_t sample = 0;
  std::vector<std::int32_t> ids;  // prompt then completion
  std::int64_t prompt_tokens = 0;
  std::vector<float> sampler_logprobs;  // of the completion's tokens
  std::vector<std::uint64_t> versions;  // of the completion's tokens
  double reward = 0;
  double advantage = 0;
  bool cut_off = false;  // finish reason length
  bool operator==(const Trajectory&) const = default;

  std::int64_t completion_tokens() const { return static_cast<std::int64_t>(ids.size()) - prompt_tokens; }
};

/// The part of one optimizer update that a rank trains: micro-batches of trajectories, and the update's normalisers
/// over all ranks (so that any split gives the same loss). An update with global_sequences 0 has nothing to train on
/// any rank.
struct UpdateShard {
  std::vector<std::vector<Trajectory>> micro_batches;
  std::int64_t global_sequences = 0;  // that train, over all ranks and micro-batches
  std::int64_t global_tokens = 0;     // completion tokens that train, likewise
  bool operator==(const UpdateShard&) const = default;
};

/// One rank's part of a step: its updates in order (batch.epochs x batch.updates).
struct StepPlan {
  std::int64_t step = 0;
  std::vector<UpdateShard> updates;
  bool operator==(const StepPlan&) const = default;
};

/// The micro-batches whose completions are the first of their kind in the plan, in order: later epochs repeat those of the first.
std::vector<std::span<const Trajectory>> first_micro_batches(const StepPlan& plan);

/// The plan as bytes for StepShard::body, and back: little-endian, token versions as runs. Decoding trusts no count:
/// each is checked against the bytes that are left. @throws ProtocolError naming the offset and what was expected.
std::string encode_step_plan(const StepPlan& plan);
StepPlan decode_step_plan(const std::string& bytes);

}  // namespace troupe
