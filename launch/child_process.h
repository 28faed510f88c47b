#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace troupe {

/// A process that the supervisor started. It gets SIGTERM should the supervisor die. Ended and reaped on destruction.
class ChildProcess {
 public:
  /// Starts `command`; standard error goes to `error_log` (appended) where given. @throws TransportError.
  ChildProcess(std::string name, std::vector<std::string> command, const std::string& error_log);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  const std::string& name() const { return name_; }
  pid_t pid() const { return pid_; }
  /// How it ended, once it has: its exit code, or 128 + the signal's number. Does not wait.
  std::optional<int> ended();
  void send_signal(int signal) const;
  /// Asks it to end (SIGTERM), and makes it (SIGKILL) after `grace_s`; returns when it is gone.
  void stop(double grace_s);

 private:
  std::string name_;
  pid_t pid_ = -1;
  std::optional<int> code_;
};

/// "exited with code 1" or "was killed by signal 9".
std::string describe_end(int code);

}  // namespace troupe
