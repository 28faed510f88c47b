#include "common/base/logger.h"

#include <mutex>
#include <utility>

// The only file that sees spdlog: the libtorch wheel ships another fmt, and both in one file do not compile.
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "common/base/error.h"

namespace troupe {
namespace {

constexpr const char* kPattern = "%H:%M:%S.%e %l [%n] %v";

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarning: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
  }
  throw InternalError("internal error: unknown log level");
}

}  // namespace

struct Logger::Sink {
  explicit Sink(LogLevel lowest_level) : lowest(lowest_level) { add(std::make_shared<spdlog::sinks::stderr_sink_mt>()); }

  // spdlog shares its sinks; the distributor and nobody else holds them.
  void add(const std::shared_ptr<spdlog::sinks::sink>& sink) {
    sink->set_pattern(kPattern);
    targets.add_sink(sink);
  }

  const LogLevel lowest;
  spdlog::sinks::dist_sink_mt targets;
};

Logger::Logger(std::string component, LogLevel level)
    : sink_(std::make_shared<Sink>(level)), component_(std::move(component)) {}

Logger Logger::with_component(std::string component) const {
  Logger other(*this);
  other.component_ = std::move(component);
  return other;
}

void Logger::also_to_file(const std::string& path) {
  try {
    sink_->add(std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
  } catch (const spdlog::spdlog_ex& error) {
    throw ConfigError("cannot open the log file " + path + ": " + error.what());
  }
}

void Logger::write(LogLevel level, std::string_view message) const {
  if (level < sink_->lowest) return;
  const spdlog::details::log_msg line(spdlog::string_view_t(component_.data(), component_.size()), spdlog_level(level),
                                      spdlog::string_view_t(message.data(), message.size()));
  sink_->targets.log(line);
  sink_->targets.flush();
}

}  // namespace troupe
