#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/base/metrics.h"
#include "common/config/run_folder.h"

namespace troupe {

/// Step (for what is held out: version) and value, ascending.
using Points = std::vector<std::pair<std::int64_t, double>>;
/// By metric.
using Curves = std::map<std::string, Points, std::less<>>;

/// Every metric of metrics.jsonl; the held-out ones at the versions that the ledger has, the last one included, from which no
/// step starts.
Curves curves_of(const std::vector<MetricsLine>& lines, const RunFolder& folder);

/// The planned charts that have data, and one chart for each metric that no plan names; as report_page.html reads them.
nlohmann::json charts_of(const Curves& curves);

}  // namespace troupe
