#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "common/model/parameters.h"
#include "learner/hub/ledger.h"
#include "learner/stages/grpo_learner.h"

namespace troupe {

/// "model.norm.weight[7]", "lm_head.weight[3, 17]": element `index` of a tensor that has this shape.
std::string element_name(const ParameterSpec& spec, std::int64_t index);

/// The first element, in the model's order, whose bits differ between two flat vectors ([total], fp32), with its name and both
/// values. Nothing where all tensors have the same bits; the alignment gaps do not count.
std::optional<std::string> first_difference(const ParameterLayout& layout, const at::Tensor& recorded, const at::Tensor& replayed);

/// The same of all that a learner is between two steps: the weights, "first moment of" and "second moment of" an element of
/// theirs, the number of updates.
std::optional<std::string> first_difference(const ParameterLayout& layout, const LearnerState& recorded,
                                            const LearnerState& replayed);

/// What of a step came out with other bits than the ledger has, loss and gradient norm before the weights, of which it names
/// the first tensor. Nothing where all is the same.
std::optional<std::string> first_difference(const ParameterLayout& layout, const StepTrained& recorded,
                                            const StepTrained& replayed);

/// How two flat vectors differ: "214 of 300 elements in 3 of 14 tensors; most in …: a -> b", or "the same bits".
std::string describe_change(const ParameterLayout& layout, const at::Tensor& before, const at::Tensor& after);

}  // namespace troupe
