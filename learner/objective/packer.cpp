#include "learner/objective/packer.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "common/base/error.h"

namespace troupe {

namespace {

std::int64_t length(const Trajectory& trajectory) { return static_cast<std::int64_t>(trajectory.ids.size()); }

using Sequences = std::vector<const Trajectory*>;

/// What goes to one rank and into one micro-batch as a whole.
struct Piece {
  Sequences sequences;
  std::int64_t tokens = 0;  // that the model reads of it
};

using Pieces = std::vector<Piece>;

void longest_first(Sequences& sequences) {
  std::stable_sort(sequences.begin(), sequences.end(),
                   [](const Trajectory* a, const Trajectory* b) { return length(*a) > length(*b); });
}

/// Each sequence by itself.
Pieces singles(const Sequences& sequences) {
  Pieces pieces;
  for (const Trajectory* sequence : sequences) pieces.push_back({{sequence}, length(*sequence)});
  return pieces;
}

/// Neighbours of one group behind its prompt, as many as `limit` tokens allow.
Pieces shared(Sequences sequences, std::int64_t limit) {
  Pieces pieces;
  for (auto begin = sequences.begin(); begin != sequences.end();) {
    const std::uint64_t group = (*begin)->group;
    const auto end = std::find_if(begin, sequences.end(), [&](const Trajectory* sequence) { return sequence->group != group; });
    Sequences own(begin, end);
    longest_first(own);
    bool first = true;
    for (const Trajectory* sequence : own) {
      if (first || pieces.back().tokens + sequence->completion_tokens() > limit) pieces.push_back({{}, sequence->prompt_tokens});
      pieces.back().sequences.push_back(sequence);
      pieces.back().tokens += sequence->completion_tokens();
      first = false;
    }
    begin = end;
  }
  return pieces;
}

struct Balance {
  std::vector<Pieces> parts;  // of each rank
  std::int64_t fullest = 0;   // tokens
};

Balance balance(Pieces pieces, std::size_t ranks) {
  std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.tokens > b.tokens; });
  Balance result{std::vector<Pieces>(ranks)};
  std::vector<std::int64_t> loads(ranks, 0);
  for (Piece& piece : pieces) {
    const auto least = static_cast<std::size_t>(std::min_element(loads.begin(), loads.end()) - loads.begin());
    loads[least] += piece.tokens;
    result.parts[least].push_back(std::move(piece));
  }
  result.fullest = *std::max_element(loads.begin(), loads.end());
  return result;
}

/// Large pieces read a prompt seldom, small ones lie evenly on the ranks.
Balance balance_shared(const Sequences& sequences, std::int64_t budget_tokens, std::size_t ranks) {
  Balance best = balance(shared(sequences, budget_tokens), ranks);
  for (std::int64_t limit = budget_tokens / 2; limit > 0; limit /= 2) {
    Balance other = balance(shared(sequences, limit), ranks);
    if (other.fullest < best.fullest) best = std::move(other);
  }
  return best;
}

std::vector<std::vector<Trajectory>> micro_batches(const Pieces& pieces, std::int64_t budget_tokens) {
  std::vector<std::vector<Trajectory>> result;
  std::int64_t filled = 0;
  for (const Piece& piece : pieces) {
    if (result.empty() || filled + piece.tokens > budget_tokens) {
      result.emplace_back();
      filled = 0;
    }
    for (const Trajectory* sequence : piece.sequences) result.back().push_back(*sequence);
    filled += piece.tokens;
  }
  return result;
}

// One update for each rank.
std::vector<UpdateShard> pack_update(const Sequences& sequences, const BatchConfig& config, std::size_t ranks) {
  UpdateShard counts;
  for (const Trajectory* sequence : sequences) {
    ++counts.global_sequences;
    counts.global_tokens += sequence->completion_tokens();
  }
  std::vector<UpdateShard> shards(ranks, counts);
  const Balance balanced =
      config.share_prompts ? balance_shared(sequences, config.micro_tokens, ranks) : balance(singles(sequences), ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    shards[rank].micro_batches = micro_batches(balanced.parts[rank], config.micro_tokens);
  }
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
    std::vector<UpdateShard> shards = pack_update(update, config, ranks);
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
