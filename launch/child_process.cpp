#include "launch/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <thread>

#include "common/base/clock.h"
#include "common/base/error.h"

namespace troupe {
namespace {

constexpr int kSignalled = 128;
constexpr int kExecFailed = 127;

}  // namespace

ChildProcess::ChildProcess(std::string name, std::vector<std::string> command, const std::string& error_log) : name_(std::move(name)) {
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  // fork and not posix_spawn, which cannot ask for a signal at the parent's death. The supervisor has one thread.
  pid_ = fork();
  if (pid_ < 0) throw TransportError("cannot start " + name_);
  if (pid_ > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(kExecFailed);
  if (!error_log.empty()) {
    const int fd = open(error_log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0) {
      dup2(fd, STDOUT_FILENO);
      dup2(fd, STDERR_FILENO);
    }
  }
  // Ctrl-C goes to the supervisor alone, which tells the others what to do.
  setpgid(0, 0);
  execvp(arguments[0], arguments.data());
  _exit(kExecFailed);
}

ChildProcess::~ChildProcess() { stop(0); }

std::optional<int> ChildProcess::ended() {
  if (code_) return code_;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  code_ = WIFEXITED(status) ? WEXITSTATUS(status) : kSignalled + WTERMSIG(status);
  return code_;
}

void ChildProcess::send_signal(int signal) const {
  if (!code_) kill(pid_, signal);
}

void ChildProcess::stop(double grace_s) {
  if (ended()) return;
  if (grace_s > 0) {
    send_signal(SIGTERM);
    const Deadline deadline = Deadline::after_s(grace_s);
    while (!ended() && !deadline.expired()) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (ended()) return;
  send_signal(SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  code_ = kSignalled + SIGKILL;
}

std::string describe_end(int code) {
  if (code > kSignalled) return "was killed by signal " + std::to_string(code - kSignalled);
  return "exited with code " + std::to_string(code);
}

}  // namespace troupe
