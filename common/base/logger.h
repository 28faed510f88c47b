#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace troupe {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

/// Writes lines `HH:MM:SS.mmm level [component] message` to standard error and, if given, to a file. Passed in, never
/// global; a copy shares the sink and may carry another component. Any thread.
class Logger {
 public:
  /// A logger to standard error; `component` stands in brackets, e.g. "actor 2".
  explicit Logger(std::string component, LogLevel level = LogLevel::kInfo);
  /// The same sink under another component name.
  Logger with_component(std::string component) const;
  /// Also appends to `path` from now on (shared by all copies). @throws ConfigError where it cannot be opened.
  void also_to_file(const std::string& path);

  void debug(std::string_view message) const { write(LogLevel::kDebug, message); }
  void info(std::string_view message) const { write(LogLevel::kInfo, message); }
  void warning(std::string_view message) const { write(LogLevel::kWarning, message); }
  void error(std::string_view message) const { write(LogLevel::kError, message); }

 private:
  void write(LogLevel level, std::string_view message) const;

  struct Sink;
  std::shared_ptr<Sink> sink_;  // shared by the copies of this logger
  std::string component_;
};

}  // namespace troupe
