#include "rewarders/line_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include "common/base/error.h"

extern char** environ;

namespace troupe {
namespace {

constexpr std::size_t kLongestLine = std::size_t{64} << 20;

std::array<FileDescriptor, 2> make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw TransportError("cannot make a pipe to a verifier process");
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

bool ready(int fd, short events, Deadline deadline) {
  pollfd waiting{fd, events, 0};
  return poll(&waiting, 1, static_cast<int>(deadline.remaining_ms())) > 0;
}

}  // namespace

void LineProcess::start() {
  auto input = make_pipe();
  auto output = make_pipe();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input[0].get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1].get(), STDOUT_FILENO);
  std::vector<char*> arguments;
  for (std::string& word : command_) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t pid = -1;
  const int failure = posix_spawnp(&pid, command_.front().c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) throw TransportError("cannot start the verifier process " + command_.front() + ": " + std::strerror(failure));
  to_child_ = std::move(input[1]);
  from_child_ = std::move(output[0]);
  fcntl(to_child_.get(), F_SETFL, O_NONBLOCK);
  pending_.clear();
  const std::lock_guard lock(mutex_);
  pid_ = pid;
}

void LineProcess::stop(std::int64_t grace_ms) {
  if (pid_ < 0) return;
  to_child_ = FileDescriptor();
  const Deadline grace = Deadline::after_ms(grace_ms);
  const std::lock_guard lock(mutex_);
  bool gone = false;
  while (!(gone = waitpid(pid_, nullptr, WNOHANG) != 0) && !grace.expired()) poll(nullptr, 0, 2);
  if (!gone) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  pid_ = -1;
  from_child_ = FileDescriptor();
}

void LineProcess::end() {
  const std::lock_guard lock(mutex_);
  if (pid_ >= 0) kill(pid_, SIGKILL);
}

bool LineProcess::write_line(const std::string& line, Deadline deadline) {
  const std::string bytes = line + "\n";
  for (std::string_view rest = bytes; !rest.empty();) {
    if (!ready(to_child_.get(), POLLOUT, deadline)) return false;
    const ssize_t written = write(to_child_.get(), rest.data(), rest.size());
    if (written < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (written > 0) rest.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

std::optional<std::string> LineProcess::read_line(Deadline deadline) {
  for (std::size_t searched = 0;;) {
    const std::size_t end = pending_.find('\n', searched);
    if (end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    searched = pending_.size();
    if (searched > kLongestLine || !ready(from_child_.get(), POLLIN, deadline)) return std::nullopt;
    std::array<char, 65536> buffer{};
    const ssize_t got = read(from_child_.get(), buffer.data(), buffer.size());
    if (got <= 0) return std::nullopt;
    pending_.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace troupe
