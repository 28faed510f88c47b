#pragma once

#include <filesystem>

namespace troupe {

/// Writes RUN/report.html: one file that opens offline, with the curves of metrics.jsonl, a table of before and after, the
/// sample completions of samples.jsonl, summary.json and the resolved configuration as far as they are there. A run that
/// still goes on can be reported too. @throws ConfigError naming the file and line that is missing or damaged,
/// TransportError where the report cannot be written.
void write_report(const std::filesystem::path& run_dir);

}  // namespace troupe
