#pragma once

#include <cstdint>
#include <vector>

#include "common/config/config.h"
#include "learner/objective/intake.h"
#include "learner/objective/trajectory.h"

namespace troupe {

/// Cuts a step into each rank's plan; a function of its arguments alone, and so the same on every replay.
///
/// - Update u of batch.updates has the groups g with floor(g * updates / groups) = u, whole and in batch order; each of
///   batch.epochs passes repeats the same updates.
/// - An update's sequences go, longest first (in ids; ties in batch order), each to the rank with the fewest tokens so
///   far (ties to the lowest rank).
/// - With batch.share_prompts a group's sequences stay together, behind one copy of their prompt: what goes to a rank is a piece, a
///   group's sequences (longest first) up to a limit of ids, the prompt counted once. The limit is the first of batch.micro_tokens, its
///   half, its quarter … whose fullest rank has the fewest tokens.
/// - A rank's sequences fill micro-batches in that order up to batch.micro_tokens ids; a longer one is a micro-batch of
///   its own (likewise pieces). So a micro-batch's sequences are of similar length. A rank may have none.
/// - global_sequences and global_tokens count what trains in the update over all ranks; what make_step left out is in
///   neither.
std::vector<StepPlan> pack_step(const StepBatch& batch, const BatchConfig& config, int world_size);

}  // namespace troupe
