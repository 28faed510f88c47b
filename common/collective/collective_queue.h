#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "common/collective/communicator.h"

namespace troupe {

/// A communicator's operations on a thread of their own, one after the other in the order in which they are asked for: `start` returns
/// at once, so that they overlap what its caller computes; every other operation waits for its end. While it lives nobody else uses the
/// communicator, whose properties it has; it cannot be split. One thread at a time, beside work that it runs.
class CollectiveQueue final : public Communicator {
 public:
  /// Refers to `inner`.
  explicit CollectiveQueue(Communicator& inner);
  /// Waits for what is under way, at most as long as the patience with the peers.
  ~CollectiveQueue() override;

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  void all_reduce_sum(std::span<float> data, std::string_view tensor) override;
  void all_reduce_sum(std::span<double> data, std::string_view tensor) override;
  void reduce_scatter_sum(std::span<const float> in, std::span<float> out, std::string_view tensor) override;
  void all_gather(std::span<const std::byte> in, std::span<std::byte> out, std::string_view tensor) override;
  void broadcast(std::span<std::byte> data, int root, std::string_view tensor) override;
  void barrier() override;
  void close() override;
  CollectiveProgress progress() const override { return inner_.progress(); }
  /// @throws InternalError: a group's collectives would run beside the queue's, on another thread.
  std::unique_ptr<Communicator> split(int color) override;
  std::shared_future<void> start(std::function<void()> work) override;
  void wait_with(const Patience* patience) override { inner_.wait_with(patience); }
  double deadline_s() const override { return inner_.deadline_s(); }

 private:
  void run();
  /// In its turn; at once where the queue's own thread asks.
  void in_turn(const std::function<void()>& work);

  Communicator& inner_;
  std::mutex mutex_;  // guards waiting_ and ended_
  std::condition_variable changed_;
  std::deque<std::packaged_task<void()>> waiting_;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace troupe
