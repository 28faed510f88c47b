#pragma once

#include <cstdint>

#include "common/config/config.h"

namespace troupe {

/// The learning rate of step `step` (from 1) of `total_steps`. Warm-up: lr * step / warmup_steps, so the first step
/// trains and step warmup_steps has lr. Afterwards, with t = (step - 1 - warmup_steps) / (total_steps - warmup_steps)
/// in [0, 1] as transformers' get_linear_ and get_cosine_schedule_with_warmup count it (no step is spent at the lowest
/// rate unless steps go on beyond total_steps), and r = min_lr_ratio:
///   constant lr; linear lr * (1 - (1 - r) t); cosine lr * (r + (1 - r) (1 + cos(pi t)) / 2).
double learning_rate(const OptimizerConfig& config, std::int64_t step, std::int64_t total_steps);

}  // namespace troupe
