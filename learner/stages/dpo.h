#pragma once

#include "common/model/transformer.h"
#include "learner/stages/supervised.h"

namespace troupe {

/// Direct preference optimisation (Rafailov et al. 2023, "Direct Preference Optimization", eq. 7) of units of two sequences, the
/// chosen answer and then the rejected one. With the implicit reward of an answer r = beta (log p - log p_reference), summed over
/// its trained tokens, the loss of a pair is -log sigmoid(r_chosen - r_rejected); means are over pairs. Metrics: loss; accuracy
/// (pairs with r_chosen > r_rejected), margin (r_chosen - r_rejected), reward_chosen and reward_rejected. At the reference itself
/// the loss is log 2. `reference` is borrowed and never changes; with `share_prompts` it reads the prompt of a pair once.
SupervisedObjective dpo_objective(const Transformer& reference, double beta, bool share_prompts = false);

}  // namespace troupe
