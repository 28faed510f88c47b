#include "learner/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/base/error.h"

namespace troupe {

double learning_rate(const OptimizerConfig& config, std::int64_t step, std::int64_t total_steps) {
  const std::int64_t warmup = config.warmup_steps;
  if (step <= warmup) return config.lr * static_cast<double>(step) / static_cast<double>(warmup);
  const auto span = static_cast<double>(std::max<std::int64_t>(1, total_steps - warmup));
  const double t = std::clamp(static_cast<double>(step - 1 - warmup) / span, 0.0, 1.0);
  const double lowest = config.min_lr_ratio;
  if (config.schedule == "constant") return config.lr;
  if (config.schedule == "linear") return config.lr * (1.0 - (1.0 - lowest) * t);
  if (config.schedule == "cosine") {
    return config.lr * (lowest + (1.0 - lowest) * 0.5 * (1.0 + std::cos(std::numbers::pi * t)));
  }
  throw ConfigError("optimizer.schedule: expected constant, linear or cosine, found \"" + config.schedule + "\"");
}

}  // namespace troupe
