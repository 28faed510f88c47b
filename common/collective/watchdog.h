#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace troupe {

/// Ends the process when a stretch of work that cannot be given up from inside (MPI_Init with a rank missing,
/// MPI_Finalize) outlasts its deadline. Made before the work, destroyed after it.
class Watchdog {
 public:
  /// After `deadline_s`, calls `expired` with the phase it was in, on the watchdog's own thread. By default that writes
  /// one line to standard error and leaves with _exit(75).
  Watchdog(std::string work, double deadline_s, std::function<void(const std::string& message)> expired = leave);
  /// Work that is done is not interrupted any more.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// Names the part of the work that runs from now on. Any thread.
  void enter(std::string phase);

  [[noreturn]] static void leave(const std::string& message);

 private:
  const std::string work_;
  const double deadline_s_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string phase_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace troupe
