#pragma once

#include <optional>
#include <span>
#include <string>

#include "learner/health/health.h"

namespace troupe {

/// What a sign is read from.
struct HealthView {
  const MetricValues& metrics;
  const Config& config;
  std::optional<double> first_entropy;  // of the run's first step

  /// Nothing where it was not measured, or is not finite.
  std::optional<double> value(std::string_view metric) const;
};

/// A sign's words; `what` is empty where the step is free of it.
struct Sign {
  std::string what;
  std::string cause;
};

/// One way not to learn. Health's comment has the conditions.
struct HealthCheck {
  const char* name;
  std::optional<Sign> (*read)(const HealthView& view);  // nothing where a metric that it needs is missing
  bool of_completions = false;                          // can be seen before anything trains
  std::int64_t fewest_completions = 0;                  // it must be seen over so many
  const char* covered_by = nullptr;                     // nothing new where this finding holds
};

std::span<const HealthCheck> health_checks();

/// A reason for which groups are refused, so that no batch fills.
struct RefusalCheck {
  const char* name;  // the ledger's reason
  const char* what;  // after the number of groups
  const char* cause;
};

std::span<const RefusalCheck> refusal_checks();

}  // namespace troupe
