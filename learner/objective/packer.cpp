#include "learner/objective/packer.h"

#include <algorithm>
#include <cstddef>

#include "common/base/error.h"

namespace troupe {

namespace {

std::int64_t length(const Trajectory& trajectory) { return static_cast<std::int64_t>(trajectory.ids.size()); }

using Sequences = std::vector<const Trajectory*>;

std::vector<Sequences> balance(Sequences sequences, std::size_t ranks) {
  std::stable_sort(sequences.begin(), sequences.end(),
                   [](const Trajectory* a, const Trajectory* b) { return length(*a) > length(*b); });
  std::vector<Sequences> parts(ranks);
  std::vector<std::int64_t> loads(ranks, 0);
  for (const Trajectory* sequence : sequences) {
    const auto least = static_cast<std::size_t>(std::min_element(loads.begin(), loads.end()) - loads.begin());
    parts[least].push_back(sequence);
    loads[least] += length(*sequence);
  }
  return parts;
}

std::vector<std::vector<Trajectory>> micro_batches(const Sequences& sequences, std::int64_t budget_tokens) {
  std::vector<std::vector<Trajectory>> result;
  std::int64_t filled = 0;
  for (const Trajectory* sequence : sequences) {
    if (result.empty() || filled + length(*sequence) > budget_tokens) {
      result.emplace_back();
      filled = 0;
    }
    result.back().push_back(*sequence);
    filled += length(*sequence);
  }
  return result;
}

// One update for each rank.
std::vector<UpdateShard> pack_update(const Sequences& sequences, std::int64_t budget_tokens, std::size_t ranks) {
  UpdateShard counts;
  for (const Trajectory* sequence : sequences) {
    ++counts.global_sequences;
    counts.global_tokens += sequence->completion_tokens();
  }
  std::vector<UpdateShard> shards(ranks, counts);
  const std::vector<Sequences> parts = balance(sequences, ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank)
    shards[rank].micro_batches = micro_batches(parts[rank], budget_tokens);
  return shards;
}

}  // namespace

std::vector<StepPlan> pack_step(const StepBatch& batch, const BatchConfig& config, int world_size) {
  check(world_size > 0 && config.updates > 0 && config.epochs > 0,
        "pack_step: world size, updates and epochs are positive");
  const auto updates = static_cast<std::size_t>(config.updates);
  const auto ranks = static_cast<std::size_t>(world_size);

  std::vector<Sequences> sequences(updates);
  for (std::size_t g = 0; g < batch.groups.size(); ++g) {
    Sequences& update = sequences[g * updates / batch.groups.size()];
    for (const Trajectory& trajectory : batch.groups[g]) update.push_back(&trajectory);
  }

  StepPlan empty;
  empty.step = batch.step;
  std::vector<StepPlan> plans(ranks, empty);
  for (const Sequences& update : sequences) {
    std::vector<UpdateShard> shards = pack_update(update, config.micro_tokens, ranks);
    for (std::size_t rank = 0; rank < ranks; ++rank) plans[rank].updates.push_back(std::move(shards[rank]));
  }
  for (StepPlan& plan : plans) {
    const std::vector<UpdateShard> once = plan.updates;
    for (int epoch = 1; epoch < config.epochs; ++epoch)
      plan.updates.insert(plan.updates.end(), once.begin(), once.end());
  }
  return plans;
}

}  // namespace troupe
