#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string_view>

#include "common/collective/patience.h"

namespace troupe {

/// What a rank is doing, readable by its heartbeat thread while a collective runs.
struct CollectiveProgress {
  std::uint64_t sequence = 0;       // number of the collective that runs or ran last, from 1; those of groups count
  std::string_view operation = "";  // its name; a string literal
};

/// Collective operations over the learner ranks, on host memory. Every rank calls the same operations in the same order
/// with the same sizes. Sums add in rank order 0, 1, 2 …, so every implementation gives the same bits at equal world
/// size. Each operation waits for the others as its patience says (a fixed deadline at first) and then throws DeviceError that
/// names rank, operation, sequence number, the peers that are behind and what they were last seen doing. One thread at a time;
/// `progress` from any thread.
class Communicator {
 public:
  virtual ~Communicator() = default;  // only abandons; close() is what needs the peers

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// data[i] := sum over ranks of data[i], on every rank.
  virtual void all_reduce_sum(std::span<float> data, std::string_view tensor) = 0;
  virtual void all_reduce_sum(std::span<double> data, std::string_view tensor) = 0;

  /// out := this rank's slice of the sum over ranks of `in`; in.size() == size() * out.size().
  virtual void reduce_scatter_sum(std::span<const float> in, std::span<float> out, std::string_view tensor) = 0;

  /// out := the ranks' `in`, one after the other; out.size() == size() * in.size(). `in` may be this rank's slice of
  /// `out`.
  virtual void all_gather(std::span<const std::byte> in, std::span<std::byte> out, std::string_view tensor) = 0;

  /// data := rank `root`'s data, on every rank.
  virtual void broadcast(std::span<std::byte> data, int root, std::string_view tensor) = 0;

  virtual void barrier() = 0;

  /// Leaves together: returns when every rank has called it. Nothing may be called afterwards.
  virtual void close() = 0;

  virtual CollectiveProgress progress() const = 0;

  /// The ranks that give the same `color`, in the order that they have here, as a communicator of their own. It moves its bytes over
  /// this one, which must outlive it and is used by the same thread; it waits as this one does, and errors name ranks by their numbers
  /// here. Collective.
  virtual std::unique_ptr<Communicator> split(int color) = 0;

  /// Runs `work`, whose collectives on this communicator come in this place of the order. It may still run when this returns: get() of
  /// the result waits for it, and throws what it threw. What is called later comes after it. Here it runs at once.
  virtual std::shared_future<void> start(std::function<void()> work);

  /// Seconds that the threads which call these operations, or get() what they started, have waited for them so far; those of groups count.
  virtual double waited_s() const { return waited_s_; }
  /// Adds what somebody waited for these ranks by other means, as on their GPUs.
  virtual void add_wait(double seconds) { waited_s_ += seconds; }

  /// From now on waits are judged by `patience`, which must outlive its use; null: the fixed deadline again.
  virtual void wait_with(const Patience* patience) = 0;
  /// The fixed one.
  virtual double deadline_s() const = 0;

 private:
  double waited_s_ = 0;
};

/// Adds the time from its making to its end to what was waited for `ranks`.
class CountedWait {
 public:
  explicit CountedWait(Communicator& ranks) : ranks_(ranks) {}
  ~CountedWait() { ranks_.add_wait(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count()); }
  CountedWait(const CountedWait&) = delete;
  CountedWait& operator=(const CountedWait&) = delete;

 private:
  Communicator& ranks_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace troupe
