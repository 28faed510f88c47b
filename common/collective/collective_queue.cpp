#include "common/collective/collective_queue.h"

#include <utility>

#include "common/base/error.h"

namespace troupe {

CollectiveQueue::CollectiveQueue(Communicator& inner) : inner_(inner), thread_([this] { run(); }) {}

CollectiveQueue::~CollectiveQueue() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    waiting_.clear();
  }
  changed_.notify_all();
  thread_.join();
}

void CollectiveQueue::run() {
  for (;;) {
    std::packaged_task<void()> next;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return ended_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
    next();  // what it throws is in its future; the communicator refuses what comes after
  }
}

std::shared_future<void> CollectiveQueue::start(std::function<void()> work) {
  std::packaged_task<void()> task(std::move(work));
  std::shared_future<void> done = task.get_future().share();
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(task));
  }
  changed_.notify_all();
  // Runs where it is waited for: that time is the caller's, the operation's own the queue's.
  const auto wait_for = [this, done] {
    const CountedWait wait(*this);
    done.get();
  };
  return std::async(std::launch::deferred, wait_for).share();
}

void CollectiveQueue::in_turn(const std::function<void()>& work) {
  if (std::this_thread::get_id() == thread_.get_id()) return work();
  start(work).get();
}

void CollectiveQueue::all_reduce_sum(std::span<float> data, std::string_view tensor) {
  in_turn([&] { inner_.all_reduce_sum(data, tensor); });
}
void CollectiveQueue::all_reduce_sum(std::span<double> data, std::string_view tensor) {
  in_turn([&] { inner_.all_reduce_sum(data, tensor); });
}
void CollectiveQueue::reduce_scatter_sum(std::span<const float> in, std::span<float> out, std::string_view tensor) {
  in_turn([&] { inner_.reduce_scatter_sum(in, out, tensor); });
}
void CollectiveQueue::all_gather(std::span<const std::byte> in, std::span<std::byte> out, std::string_view tensor) {
  in_turn([&] { inner_.all_gather(in, out, tensor); });
}
void CollectiveQueue::broadcast(std::span<std::byte> data, int root, std::string_view tensor) {
  in_turn([&] { inner_.broadcast(data, root, tensor); });
}
void CollectiveQueue::barrier() {
  in_turn([&] { inner_.barrier(); });
}
std::unique_ptr<Communicator> CollectiveQueue::split(int) { throw InternalError("a queue of collectives cannot be split"); }
void CollectiveQueue::close() {
  in_turn([&] { inner_.close(); });
}

}  // namespace troupe
