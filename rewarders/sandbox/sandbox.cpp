#include "rewarders/sandbox/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <csignal>

#include "common/base/error.h"
#include "common/base/text.h"
#include "rewarders/sandbox/seccomp_filter.h"

namespace troupe {
namespace {

// What the sandboxed program has open, by number. The program itself keeps 0, 1, 2 and the channel.
constexpr int kStarted = 3;      // gets a byte once every rlimit holds and the program is about to begin
constexpr int kChannel = 4;
constexpr int kFilter = 5;
constexpr int kInformation = 6;  // bubblewrap writes the pid of the sandbox's first process
constexpr int kFirstFile = 7;
constexpr int kAboveAll = 64;    // where descriptors stand until they are put in place
constexpr uid_t kNobody = 65534;

// Limits that only hold inside the user namespace (processes), and the others beside them. dash says -p, bash -u.
constexpr const char* kLimitScript =
    "ulimit -c 0 && ulimit -S -t $1 && ulimit -H -t $2 && ulimit -v $3 && ulimit -f $4 && ulimit -n $5 && "
    "{ ulimit -p $6 2>/dev/null || ulimit -u $6; } && shift 6 && printf r >&3 && exec \"$@\" 3>&-";

std::array<FileDescriptor, 2> make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw TransportError("cannot make a pipe to a sandboxed program");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

/// A file in memory that is read from its beginning.
FileDescriptor memory_file(const std::string& bytes) {
  FileDescriptor file(memfd_create("sandbox", MFD_CLOEXEC));
  if (!file) throw TransportError("cannot make a file in memory for a sandboxed program");
  write_all(file.get(), std::as_bytes(std::span(bytes)), "a file in memory");
  lseek(file.get(), 0, SEEK_SET);
  return file;
}

std::string find_bubblewrap() {
  for (const char* path : {"/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"}) {
    if (access(path, X_OK) == 0) return path;
  }
  throw ConfigError("code rewards run programs in bubblewrap, and neither /usr/bin/bwrap nor /usr/local/bin/bwrap is there: "
                    "./launch/setup.sh gets it (Debian's package is bubblewrap)");
}

std::vector<std::string> limited_command(const SandboxJob& job, int processes) {
  const SandboxLimits& limits = job.limits;
  const auto seconds = static_cast<std::int64_t>(std::ceil(limits.time_s));
  std::vector<std::string> words = {"/bin/sh", "-c", kLimitScript, "sh", std::to_string(seconds), std::to_string(seconds + 1),
                                    std::to_string(limits.memory_bytes >> 10), std::to_string(limits.scratch_bytes >> 9),
                                    std::to_string(limits.files), std::to_string(processes)};
  words.insert(words.end(), job.command.begin(), job.command.end());
  return words;
}

std::vector<std::string> bubblewrap_command(const std::string& bubblewrap, const SandboxJob& job, int processes) {
  std::vector<std::string> words = {bubblewrap, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
                                    "--uid", std::to_string(kNobody), "--gid", std::to_string(kNobody), "--hostname", "sandbox",
                                    "--ro-bind", "/usr", "/usr", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache",
                                    "--ro-bind-try", "/etc/alternatives", "/etc/alternatives", "--proc", "/proc", "--dev", "/dev"};
  for (const std::string folder : {"bin", "lib", "lib64", "sbin"}) {
    // A system that has not merged them into /usr has folders of its own.
    if (std::filesystem::is_symlink("/" + folder)) {
      words.insert(words.end(), {"--symlink", "usr/" + folder, "/" + folder});
    } else {
      words.insert(words.end(), {"--ro-bind-try", "/" + folder, "/" + folder});
    }
  }
  const std::string scratch = std::to_string(job.limits.scratch_bytes);
  for (const char* folder : {"/tmp", "/dev/shm"}) words.insert(words.end(), {"--size", scratch, "--tmpfs", folder});
  for (std::size_t i = 0; i < job.files.size(); ++i) {
    words.insert(words.end(), {"--perms", job.files[i].executable ? "0555" : "0444", "--ro-bind-data",
                               std::to_string(kFirstFile + static_cast<int>(i)), job.files[i].path});
  }
  words.insert(words.end(), {"--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--seccomp", std::to_string(kFilter),
                             "--info-fd", std::to_string(kInformation), "--"});
  const std::vector<std::string> command = limited_command(job, processes);
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

struct Place {
  int from;
  int to;
};

/// In the child, between fork and exec: only calls that are safe there. Returns where something fails.
void become(const std::vector<Place>& places, const std::vector<std::string>& doors, char* const* words, char* const* environment) {
  for (const std::string& door : doors) {
    const int file = open(door.c_str(), O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, "0", 1) != 1) return;
  }
  std::array<int, kAboveAll> safe{};
  for (std::size_t i = 0; i < places.size(); ++i) {
    safe[i] = fcntl(places[i].from, F_DUPFD_CLOEXEC, kAboveAll);
    if (safe[i] < 0) return;
  }
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (dup2(safe[i], places[i].to) < 0) return;
  }
  // Root could not be held to a number of processes, and would own the system's files.
  if (geteuid() == 0 && (setgroups(0, nullptr) != 0 || setresgid(kNobody, kNobody, kNobody) != 0 || setresuid(kNobody, kNobody, kNobody) != 0)) {
    return;
  }
  signal(SIGPIPE, SIG_DFL);
  execve(words[0], words, environment);
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

Sandbox::Sandbox() : bubblewrap_(find_bubblewrap()), filter_(seccomp_filter()), cgroups_(find_cgroup_home()) {
  SandboxJob probe;
  probe.command = {"true"};
  const SandboxOutcome outcome = run(probe);
  if (outcome.end == SandboxEnd::kExited && outcome.code == 0) return;
  throw ConfigError("code rewards need a sandbox, and this machine does not let " + bubblewrap_ + " make one: " +
                    (outcome.errors.empty() ? "it ended with " + std::to_string(outcome.code) : std::string(trim(outcome.errors))) +
                    ". User namespaces must be allowed to ordinary users (sysctl user.max_user_namespaces, "
                    "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns; in a container its seccomp profile)");
}

Sandbox::~Sandbox() = default;

std::string Sandbox::describe() const { return "namespaces (bubblewrap), seccomp, rlimits, " + cgroups_.describe(); }

std::unique_ptr<SandboxedProcess> Sandbox::start(const SandboxJob& job) const {
  check(job.files.size() + kFirstFile < kAboveAll, "a sandboxed program has few files");
  std::unique_ptr<SandboxedProcess> process(new SandboxedProcess(job.limits, cgroups_));
  auto output = make_pipe();
  auto errors = make_pipe();
  auto started = make_pipe();
  auto information = make_pipe();
  std::vector<FileDescriptor> files;
  files.push_back(memory_file(job.input));
  files.push_back(memory_file(filter_));
  std::vector<Place> places = {{files[0].get(), STDIN_FILENO}, {output[1].get(), STDOUT_FILENO}, {errors[1].get(), STDERR_FILENO},
                               {started[1].get(), kStarted},   {files[1].get(), kFilter},        {information[1].get(), kInformation}};
  if (job.channel >= 0) places.push_back({job.channel, kChannel});
  for (std::size_t i = 0; i < job.files.size(); ++i) {
    files.push_back(memory_file(job.files[i].bytes));
    places.push_back({files.back().get(), kFirstFile + static_cast<int>(i)});
  }
  // The rlimit counts processes that have just ended, and says nothing when it refuses: it stands behind the cgroup's.
  const int processes = cgroups_.pids.empty() ? job.limits.processes : 2 * job.limits.processes;
  std::vector<std::string> words = bubblewrap_command(bubblewrap_, job, processes);
  std::vector<std::string> environment = {"PATH=/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8", "PYTHONHASHSEED=0", "OMP_NUM_THREADS=1"};
  const std::vector<char*> word_pointers = pointers(words);
  const std::vector<char*> environment_pointers = pointers(environment);
  const std::vector<std::string> doors = process->cgroup_ ? process->cgroup_->doors() : std::vector<std::string>();

  process->pid_ = fork();
  if (process->pid_ == 0) {
    become(places, doors, word_pointers.data(), environment_pointers.data());
    _exit(127);
  }
  if (process->pid_ < 0) throw TransportError("cannot start a sandbox: fork failed");
  process->outer_ = FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, process->pid_, 0)));
  process->output_ = std::move(output[0]);
  process->errors_ = std::move(errors[0]);
  process->started_ = std::move(started[0]);
  process->information_ = std::move(information[0]);
  for (const int fd : {process->output_.get(), process->errors_.get(), process->started_.get(), process->information_.get()}) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
  }
  return process;
}

SandboxOutcome Sandbox::run(const SandboxJob& job) const {
  const auto process = start(job);
  SandboxedProcess* const all[] = {process.get()};
  while (!process->over()) SandboxedProcess::watch(all, -1, Deadline::after_s(1));
  return process->finish();
}

}  // namespace troupe
