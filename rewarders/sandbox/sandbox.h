#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "rewarders/sandbox/cgroup.h"
#include "rewarders/sandbox/limits.h"

namespace troupe {

/// How a sandboxed program ended.
enum class SandboxEnd {
  kExited,       // by itself; `code` is its exit code
  kKilled,       // by the signal `code`, or by whoever started it
  kTimeLimit,
  kMemoryLimit,  // the cgroup's; a failed allocation is the program's own affair
  kOutputLimit,
  kForbidden,    // a system call that the filter does not let pass, or more processes than allowed
  kFailed,       // the sandbox could not be made: says nothing about the program
};

struct SandboxOutcome {
  SandboxEnd end = SandboxEnd::kFailed;
  int code = 0;
  std::string output;  // standard output
  std::string errors;  // standard error
  double time_s = 0;   // what of its limit it took
  bool memory_kill = false;  // the cgroup ended one of its processes for lack of memory, whatever became of the others
};

/// A file that the program finds, read-only.
struct SandboxFile {
  std::string path;   // absolute, outside /usr, /tmp, /dev and /proc
  std::string bytes;
  bool executable = false;
};

struct SandboxJob {
  std::vector<std::string> command;  // looked for in /usr/bin and /bin
  std::string input;                 // standard input
  std::vector<SandboxFile> files;
  int channel = -1;                  // a descriptor of the caller's that the program has as 4; -1: none
  SandboxLimits limits;
};

class SandboxedProcess;

/// Starts programs in namespaces of their own (bubblewrap): no network, the system's /usr read-only, private and bounded /tmp
/// and /dev/shm, no other file, no other process, no capability, an unprivileged user; under a seccomp filter, rlimits and,
/// where they are to be had, cgroups. Without namespaces, seccomp or rlimits nothing is started.
class Sandbox {
 public:
  /// @throws ConfigError where this machine cannot make it, saying what is missing.
  Sandbox();
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  /// "namespaces (bubblewrap), seccomp, rlimits, cgroup v1 (memory, pids, cpu)".
  std::string describe() const;

  /// Does not wait for it. The sandbox must outlive it. @throws TransportError where the machine is out of processes or memory.
  std::unique_ptr<SandboxedProcess> start(const SandboxJob& job) const;
  /// Starts it and waits for its end, which comes within the job's time limit and a moment.
  SandboxOutcome run(const SandboxJob& job) const;

 private:
  std::string bubblewrap_;  // its path
  std::string filter_;
  CgroupHome cgroups_;
};

/// A program in a sandbox. Its processes are gone once finish() has returned or it is destroyed. One thread at a time.
class SandboxedProcess {
 public:
  ~SandboxedProcess();
  SandboxedProcess(const SandboxedProcess&) = delete;
  SandboxedProcess& operator=(const SandboxedProcess&) = delete;

  /// Whether it has ended or broken a limit. Blocks never.
  bool over() const { return over_; }
  /// Takes in the output of `processes` and enforces their limits until one of them is over, `descriptor` (-1: none) can be
  /// read, or the deadline has passed.
  static void watch(std::span<SandboxedProcess* const> processes, int descriptor, Deadline deadline);
  /// Ends what still runs, and says how it ended.
  SandboxOutcome finish();

 private:
  friend class Sandbox;
  SandboxedProcess(const SandboxLimits& limits, const CgroupHome& home);
  void meet_first();
  void keep_time();
  double starved_s() const;
  void take_output();
  void enforce();
  void break_limit(SandboxEnd end);
  void kill_all();
  void reap();
  SandboxEnd end_of(int status) const;

  SandboxLimits limits_;
  std::optional<Cgroup> cgroup_;
  Deadline deadline_;            // until the program begins, that of beginning
  bool started_well_ = false;    // every limit holds and the program has begun
  double granted_s_ = 0;         // by which its time was prolonged because it waited for a core
  pid_t pid_ = -1;               // of bubblewrap's outer process
  pid_t first_pid_ = -1;
  FileDescriptor outer_;         // its pidfd
  FileDescriptor first_;         // that of the first process inside, once it is known
  FileDescriptor output_, errors_, started_, information_;
  std::string told_;             // by bubblewrap, of the first process
  bool over_ = false;
  std::optional<SandboxEnd> broken_;  // the limit that it broke
  std::optional<int> status_;    // waitpid's
  SandboxOutcome outcome_;
};

}  // namespace troupe
