#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/files.h"

namespace troupe {

/// Metrics while they are gathered: sums and counts (and maxima), added over micro-batches and ranks, divided only when
/// shown. One thread at a time.
class MetricSums {
 public:
  struct Entry {
    double sum = 0;  // or the maximum
    double count = 0;
    bool is_maximum = false;
    bool operator==(const Entry&) const = default;
  };

  /// Adds `count` observations that sum to `sum`.
  void add(std::string_view name, double sum, double count = 1);
  /// Keeps the largest value. A name is either a mean or a maximum, always.
  void add_maximum(std::string_view name, double value);
  void merge(const MetricSums& other);

  /// sum / count, or the maximum; nothing where there was no observation.
  std::optional<double> mean(std::string_view name) const;
  /// `mean` of every name that has one.
  std::map<std::string, double> means() const;
  const std::map<std::string, Entry, std::less<>>& entries() const { return entries_; }

  bool operator==(const MetricSums&) const = default;

 private:
  Entry& entry(std::string_view name, bool is_maximum);
  std::map<std::string, Entry, std::less<>> entries_;
};

/// Writes RUN/metrics.jsonl, {"step": N, name: value, …} a line (null where a value is not finite), and a TensorBoard event
/// file with the same names. One thread at a time.
class MetricsWriter {
 public:
  /// Goes on after step `resumed_step` (0: at the start): what an interrupted attempt wrote of later steps is dropped.
  /// @throws TransportError where a file cannot be written, ConfigError naming a damaged line of metrics.jsonl.
  MetricsWriter(const std::filesystem::path& run_dir, std::int64_t resumed_step);

  /// Appends one step; it is in both files on return (not yet synced to the disk). @throws TransportError.
  void write(std::int64_t step, const std::map<std::string, double>& values);

 private:
  std::filesystem::path metrics_path_;
  std::filesystem::path events_path_;
  FileDescriptor metrics_;
  FileDescriptor events_;
};

/// One line of a metrics.jsonl; values that were not finite are left out.
struct MetricsLine {
  std::int64_t step = 0;
  std::map<std::string, double> values;
  bool operator==(const MetricsLine&) const = default;
};

/// The lines of a metrics.jsonl, without a last one that is cut short (the run may be writing it).
/// @throws ConfigError naming the file, or file and line where one is damaged.
std::vector<MetricsLine> read_metrics(const std::filesystem::path& path);

/// Drops the lines of steps after `step` from a metrics.jsonl, and a last line that was cut short. A file that is not there
/// is left so. @throws ConfigError naming file and line where another line is damaged.
void truncate_metrics_after(const std::filesystem::path& path, std::int64_t step);

}  // namespace troupe
