#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace troupe {

/// Monotonic time in milliseconds since an arbitrary start. Injected, so that tests can move it by hand. Any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::int64_t now_ms() const = 0;
};

/// std::chrono::steady_clock.
class SteadyClock final : public Clock {
 public:
  std::int64_t now_ms() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

/// A clock that stands still until it is moved (tests). One thread at a time.
class ManualClock final : public Clock {
 public:
  std::int64_t now_ms() const override { return now_ms_; }
  void advance_ms(std::int64_t by_ms) { now_ms_ += by_ms; }

 private:
  std::int64_t now_ms_ = 0;
};

/// A point in monotonic time by which a wait must have ended. Every blocking call takes one.
class Deadline {
 public:
  static Deadline after_ms(std::int64_t ms) { return Deadline(SteadyClock().now_ms() + ms); }
  static Deadline after_s(double s) { return after_ms(static_cast<std::int64_t>(s * 1000.0)); }

  /// Milliseconds left, never negative.
  std::int64_t remaining_ms() const {
    const std::int64_t left = at_ms_ - SteadyClock().now_ms();
    return left > 0 ? left : 0;
  }
  bool expired() const { return remaining_ms() == 0; }

 private:
  explicit Deadline(std::int64_t at_ms) : at_ms_(at_ms) {}
  std::int64_t at_ms_;
};

/// The wall clock as "2026-11-22T14:30:00Z" (UTC), for logs and file headers only; nothing is decided by it.
std::string utc_now();

/// Seconds since the epoch as "2026-11-22T14:30:00.250Z".
std::string utc_text(double unix_s);

/// Seconds since the epoch with a fraction, for metrics only.
double unix_time_s();

}  // namespace troupe
