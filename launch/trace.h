#pragma once

#include <filesystem>
#include <map>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/base/metrics.h"
#include "learner/hub/ledger.h"

namespace troupe {

/// What a run did when, as events of the Trace Event Format, which chrome://tracing and ui.perfetto.dev open: each step of the learners
/// with its waiting, training and publishing, and each group on the actor that generated it and the rewarder that scored it, one way or
/// the other (`lost` says why a lease was taken back). Times are µs since the first record. Of long runs the last 200,000 events.
nlohmann::json trace_events(const std::vector<LedgerRecord>& records, const std::vector<MetricsLine>& metrics);

/// Writes RUN/trace.json of its ledger and metrics. @throws ConfigError naming a file that is damaged.
void write_trace(const std::filesystem::path& run_dir);

}  // namespace troupe
