#include "common/collective/watchdog.h"

#include <unistd.h>

#include <chrono>
#include <utility>

namespace troupe {

Watchdog::Watchdog(std::string work, double deadline_s, std::function<void(const std::string& message)> expired)
    : work_(std::move(work)), deadline_s_(deadline_s) {
  thread_ = std::thread([this, expired = std::move(expired)] {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, std::chrono::duration<double>(deadline_s_), [&] { return done_; })) return;
    const std::string seconds = std::to_string(deadline_s_);
    expired(work_ + " has not ended within " + seconds.substr(0, seconds.find('.') + 2) + " s" +
            (phase_.empty() ? "" : "; it is in: " + phase_));
  });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void Watchdog::enter(std::string phase) {
  const std::lock_guard lock(mutex_);
  phase_ = std::move(phase);
}

void Watchdog::leave(const std::string& message) {
  const std::string line = "troupe: " + message + "; leaving with exit code 75, the same command resumes\n";
  // Not through stdio: another thread may hang with its lock held.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
  ::_exit(75);
}

}  // namespace troupe
