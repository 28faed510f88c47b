#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "common/base/clock.h"

namespace troupe {

/// A first-in first-out queue of at most `capacity` items between threads. Closing lets readers drain what is in it and
/// refuses new items. Any thread.
template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  /// Puts `item` in; waits for room until the deadline. False where the deadline passed or the queue is closed (the item
  /// is then untouched).
  bool push(T& item, Deadline deadline) {
    std::unique_lock lock(mutex_);
    const auto ready = [&] { return closed_ || items_.size() < capacity_; };
    if (!changed_.wait_for(lock, std::chrono::milliseconds(deadline.remaining_ms()), ready) || closed_) return false;
    items_.push_back(std::move(item));
    changed_.notify_all();
    return true;
  }

  /// Takes the oldest item; waits until the deadline. Nothing where it passed, or the queue is closed and empty.
  std::optional<T> pop(Deadline deadline) {
    std::unique_lock lock(mutex_);
    const auto ready = [&] { return closed_ || !items_.empty(); };
    const std::chrono::milliseconds patience(deadline.remaining_ms());
    if (patience.count() > 0) changed_.wait_for(lock, patience, ready);  // even a wait of 0 sleeps
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    changed_.notify_all();
    return item;
  }

  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  bool closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
  }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return items_.size();
  }

 private:
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace troupe
