#pragma once

#include <sys/types.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/files.h"

namespace troupe {

/// A program of ours or the user's that answers lines on its standard input by lines on its standard output. Ended and reaped on
/// destruction. One thread at a time but for end(); needs SIGPIPE ignored.
class LineProcess {
 public:
  /// Nothing is started yet. `command` is a path, or a name that is looked for on the PATH, and arguments.
  explicit LineProcess(std::vector<std::string> command) : command_(std::move(command)) {}
  ~LineProcess() { stop(kGraceMs); }
  LineProcess(const LineProcess&) = delete;
  LineProcess& operator=(const LineProcess&) = delete;

  bool running() const { return pid_ >= 0; }
  /// @throws TransportError where it cannot be started.
  void start();
  /// Closes its input, and kills it when it has not ended `grace_ms` later.
  void stop(std::int64_t grace_ms = 0);
  /// Kills it, so that who waits for its line stops waiting. Any thread.
  void end();

  /// Hands it `line`, which has no line break. False where it has died or does not read in time.
  bool write_line(const std::string& line, Deadline deadline);
  /// Its next line. Nothing where it has died, says nothing in time, or a line is over 64 MiB.
  std::optional<std::string> read_line(Deadline deadline);

 private:
  static constexpr std::int64_t kGraceMs = 500;

  std::vector<std::string> command_;
  std::mutex mutex_;  // over pid_, which only the one thread changes
  pid_t pid_ = -1;
  FileDescriptor to_child_;
  FileDescriptor from_child_;
  std::string pending_;  // read but not yet a whole line
};

}  // namespace troupe
