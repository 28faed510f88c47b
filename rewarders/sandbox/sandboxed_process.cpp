#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>

#include "common/base/error.h"
#include "rewarders/sandbox/sandbox.h"

namespace troupe {
namespace {

constexpr std::int64_t kLookMs = 100;        // between looks at what no descriptor tells: refused forks
constexpr std::int64_t kGoneWithinMs = 5000;
constexpr double kBeginS = 30;
constexpr double kMostGranted = 4;           // in limits
constexpr std::uint64_t kInformationBytes = 4096;
constexpr int kSignalBase = 128;             // bubblewrap's exit code for a program killed by a signal, less its number

/// Appends what can be read now. False at the end of the file.
bool drain(int fd, std::string& text, std::uint64_t& room) {
  std::array<char, 65536> buffer{};
  for (;;) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got == 0) return false;
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    text.append(buffer.data(), std::min<std::size_t>(static_cast<std::size_t>(got), room));
    if (static_cast<std::uint64_t>(got) > room) {
      room = 0;
      return true;
    }
    room -= static_cast<std::uint64_t>(got);
  }
}

/// The pid in bubblewrap's information ("{ "child-pid": 123 }"), or -1 where it is not there yet.
pid_t first_process(const std::string& information) {
  const std::string key = "\"child-pid\":";
  const std::size_t at = information.find(key);
  return at == std::string::npos || information.find('}') == std::string::npos ? -1 : std::atoi(information.c_str() + at + key.size());
}

}  // namespace

SandboxedProcess::SandboxedProcess(const SandboxLimits& limits, const CgroupHome& home)
    : limits_(limits), deadline_(Deadline::after_s(kBeginS)) {
  if (home.version != 0) cgroup_.emplace(home, limits);
}

SandboxedProcess::~SandboxedProcess() { kill_all(); }

void SandboxedProcess::watch(std::span<SandboxedProcess* const> processes, int descriptor, Deadline deadline) {
  for (;;) {
    std::vector<pollfd> waiting = {{descriptor, POLLIN, 0}};
    std::int64_t wait_ms = std::min(deadline.remaining_ms(), kLookMs);
    for (SandboxedProcess* process : processes) {
      if (process->over_) return;
      for (const FileDescriptor* fd : {&process->outer_, &process->information_, &process->output_, &process->errors_}) waiting.push_back({fd->get(), POLLIN, 0});
      wait_ms = std::min(wait_ms, process->deadline_.remaining_ms());
    }
    poll(waiting.data(), waiting.size(), static_cast<int>(wait_ms));
    for (SandboxedProcess* process : processes) process->enforce();
    const bool any = std::any_of(processes.begin(), processes.end(), [](const SandboxedProcess* p) { return p->over_; });
    if (any || waiting[0].revents != 0 || deadline.expired()) return;
  }
}

/// Takes hold of the sandbox's first process as soon as bubblewrap says which it is.
void SandboxedProcess::meet_first() {
  std::uint64_t room = kInformationBytes;
  if (!information_ || drain(information_.get(), told_, room)) return;
  information_ = FileDescriptor();
  const pid_t first = first_process(told_);
  first_pid_ = first;
  if (first > 0) first_ = FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, first, 0)));
}

void SandboxedProcess::enforce() {
  meet_first();
  take_output();
  if (limits_.output_bytes == 0) return break_limit(SandboxEnd::kOutputLimit);
  if (cgroup_ && cgroup_->ran_out_of_processes()) return break_limit(SandboxEnd::kForbidden);
  keep_time();
  if (deadline_.expired()) return break_limit(SandboxEnd::kTimeLimit);
  reap();
}

/// The program's time begins with it, and does not count while others have the cores.
void SandboxedProcess::keep_time() {
  char mark = 0;
  if (!started_well_ && read(started_.get(), &mark, 1) == 1) {
    started_well_ = true;
    deadline_ = Deadline::after_s(limits_.time_s);
  }
  if (!started_well_ || !deadline_.expired()) return;
  const double granted_s = std::min(starved_s(), kMostGranted * limits_.time_s);
  if (granted_s <= granted_s_ + static_cast<double>(kLookMs) / 1000) return;
  deadline_ = Deadline::after_s(granted_s - granted_s_);
  granted_s_ = granted_s;
}

/// Seconds that the program (a child of the sandbox's first process) could run and did not: the kernel's run delay.
double SandboxedProcess::starved_s() const {
  const std::string first = "/proc/" + std::to_string(first_pid_);
  std::ifstream children(first + "/task/" + std::to_string(first_pid_) + "/children");
  double most_ns = 0;
  for (pid_t child = 0; children >> child;) {
    std::ifstream schedule("/proc/" + std::to_string(child) + "/schedstat");
    double ran_ns = 0;
    double delayed_ns = 0;
    if (schedule >> ran_ns >> delayed_ns) most_ns = std::max(most_ns, delayed_ns);
  }
  return most_ns / 1e9;
}

void SandboxedProcess::take_output() {
  if (output_ && !drain(output_.get(), outcome_.output, limits_.output_bytes)) output_ = FileDescriptor();
  if (errors_ && !drain(errors_.get(), outcome_.errors, limits_.output_bytes)) errors_ = FileDescriptor();
}

void SandboxedProcess::break_limit(SandboxEnd end) {
  broken_ = end;
  over_ = true;
  kill_all();
}

/// Looks whether it has ended by itself, without waiting.
void SandboxedProcess::reap() {
  int status = 0;
  if (status_ || waitpid(pid_, &status, WNOHANG) != pid_) return;
  status_ = status;
  over_ = true;
}

/// The end of the sandbox's first process is the end of all in its pid namespace.
void SandboxedProcess::kill_all() {
  if (pid_ < 0) return;
  meet_first();
  if (first_) syscall(SYS_pidfd_send_signal, first_.get(), SIGKILL, nullptr, 0);
  if (!status_) {
    kill(pid_, SIGKILL);
    int status = 0;
    waitpid(pid_, &status, 0);
    status_ = status;
  }
  if (first_) {
    pollfd gone{first_.get(), POLLIN, 0};
    poll(&gone, 1, kGoneWithinMs);
  }
  pid_ = -1;
}

SandboxOutcome SandboxedProcess::finish() {
  kill_all();
  take_output();
  keep_time();
  outcome_.code = WIFEXITED(*status_) ? WEXITSTATUS(*status_) : WTERMSIG(*status_);
  outcome_.time_s = limits_.time_s - std::min(limits_.time_s, static_cast<double>(deadline_.remaining_ms()) / 1000);
  outcome_.memory_kill = cgroup_ && cgroup_->ran_out_of_memory();
  outcome_.end = started_well_ ? end_of(*status_) : SandboxEnd::kFailed;
  if (outcome_.end == SandboxEnd::kKilled && WIFEXITED(*status_)) outcome_.code -= kSignalBase;
  return std::move(outcome_);
}

SandboxEnd SandboxedProcess::end_of(int status) const {
  const bool well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!well && outcome_.memory_kill) return SandboxEnd::kMemoryLimit;
  if (broken_) return *broken_;
  if (cgroup_ && cgroup_->ran_out_of_processes()) return SandboxEnd::kForbidden;  // since the last look
  if (!WIFEXITED(status)) return SandboxEnd::kKilled;
  switch (WEXITSTATUS(status) - kSignalBase) {
    case SIGSYS: return SandboxEnd::kForbidden;
    case SIGXCPU: return SandboxEnd::kTimeLimit;
    case SIGXFSZ: return SandboxEnd::kOutputLimit;
    default: return WEXITSTATUS(status) > kSignalBase ? SandboxEnd::kKilled : SandboxEnd::kExited;
  }
}

}  // namespace troupe
