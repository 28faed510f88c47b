#include "common/base/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/tensorboard.h"

namespace troupe {
namespace {

FileDescriptor open_for_appending(const std::filesystem::path& path) {
  FileDescriptor fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  if (!fd) throw TransportError("cannot open " + path.string() + " for writing: " + std::strerror(errno));
  return fd;
}

void append(const FileDescriptor& fd, std::string_view bytes, const std::filesystem::path& path) {
  write_all(fd.get(), std::as_bytes(std::span(bytes)), path.string());
}

/// TensorBoard knows its files by "tfevents" in the name and reads them in the order of their names.
std::filesystem::path events_path(const std::filesystem::path& run_dir, double now_s) {
  return run_dir / ("events.out.tfevents." + std::to_string(static_cast<std::int64_t>(now_s)) + ".troupe." +
                    std::to_string(::getpid()));
}

struct RawLine {
  std::string_view text;  // without the line break
  nlohmann::json json;    // an object with an integer "step"
};

/// The complete lines of `text`, the content of `path`.
std::vector<RawLine> parse_lines(std::string_view text, const std::filesystem::path& path) {
  std::vector<RawLine> lines;
  while (text.find('\n') != std::string_view::npos) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() + 1);
    nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) {
      throw ConfigError(path.string() + ":" + std::to_string(lines.size() + 1) +
                        ": expected a JSON object with a step, found '" + std::string(line.substr(0, 80)) + "'");
    }
    lines.push_back({line, std::move(json)});
  }
  return lines;
}

}  // namespace

MetricSums::Entry& MetricSums::entry(std::string_view name, bool is_maximum) {
  const auto [place, fresh] = entries_.try_emplace(std::string(name), Entry{.is_maximum = is_maximum});
  check(place->second.is_maximum == is_maximum, "metric " + std::string(name) + " is both a mean and a maximum");
  return place->second;
}

void MetricSums::add(std::string_view name, double sum, double count) {
  Entry& mine = entry(name, false);
  mine.sum += sum;
  mine.count += count;
}

void MetricSums::add_maximum(std::string_view name, double value) {
  Entry& mine = entry(name, true);
  mine.sum = mine.count == 0 ? value : std::max(mine.sum, value);
  mine.count += 1;
}

void MetricSums::merge(const MetricSums& other) {
  for (const auto& [name, theirs] : other.entries_) {
    Entry& mine = entry(name, theirs.is_maximum);
    if (!theirs.is_maximum) {
      mine.sum += theirs.sum;
    } else if (theirs.count > 0) {
      mine.sum = mine.count == 0 ? theirs.sum : std::max(mine.sum, theirs.sum);
    }
    mine.count += theirs.count;
  }
}

std::optional<double> MetricSums::mean(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.count == 0) return std::nullopt;
  return found->second.is_maximum ? found->second.sum : found->second.sum / found->second.count;
}

std::map<std::string, double> MetricSums::means() const {
  std::map<std::string, double> values;
  for (const auto& [name, unused] : entries_) {
    if (const std::optional<double> value = mean(name)) values[name] = *value;
  }
  return values;
}

MetricsWriter::MetricsWriter(const std::filesystem::path& run_dir, std::int64_t resumed_step)
    : metrics_path_(run_dir / "metrics.jsonl"), events_path_(events_path(run_dir, unix_time_s())) {
  truncate_metrics_after(metrics_path_, resumed_step);
  metrics_ = open_for_appending(metrics_path_);
  events_ = open_for_appending(events_path_);
  append(events_, tensorboard_record(version_event(unix_time_s())), events_path_);
  append(events_, tensorboard_record(session_start_event(unix_time_s(), resumed_step + 1)), events_path_);
}

void MetricsWriter::write(std::int64_t step, const std::map<std::string, double>& values) {
  nlohmann::ordered_json line = {{"step", step}};
  for (const auto& [name, value] : values) line[name] = value;
  append(metrics_, line.dump() + "\n", metrics_path_);
  append(events_, tensorboard_record(scalar_event(unix_time_s(), step, values)), events_path_);
}

std::vector<MetricsLine> read_metrics(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  std::vector<MetricsLine> lines;
  for (const RawLine& raw : parse_lines(text, path)) {
    MetricsLine& line = lines.emplace_back();
    line.step = raw.json["step"].get<std::int64_t>();
    for (const auto& [name, value] : raw.json.items()) {
      if (name != "step" && value.is_number()) line.values[name] = value.get<double>();
    }
  }
  return lines;
}

void truncate_metrics_after(const std::filesystem::path& path, std::int64_t step) {
  if (!std::filesystem::exists(path)) return;
  const std::string text = read_file(path);
  std::string kept;
  for (const RawLine& line : parse_lines(text, path)) {
    if (line.json["step"].get<std::int64_t>() <= step) kept.append(line.text).push_back('\n');
  }
  if (kept != text) write_file_atomically(path, kept);
}

}  // namespace troupe
