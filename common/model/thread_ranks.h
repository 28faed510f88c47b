#pragma once

#include <atomic>
#include <barrier>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "common/model/tensor_cut.h"

namespace troupe {

/// The ranks of a tensor group as threads of this process, each with its share of the caller's ATen threads. One caller at a time.
class ThreadRanks {
 public:
  explicit ThreadRanks(int count);
  ~ThreadRanks();
  ThreadRanks(const ThreadRanks&) = delete;
  ThreadRanks& operator=(const ThreadRanks&) = delete;

  int size() const { return static_cast<int>(threads_.size()); }

  /// Runs work(rank) in every rank's thread and waits for all. @throws what the first rank to fail threw; the others' meetings then
  /// throw too, and so does every later run.
  void run(const std::function<void(int rank)>& work);

  /// Within `run`: returns when every rank has called it. @throws DeviceError where a rank has failed.
  void meet();

  /// A rank's view of the others over the CPU's memory, for its TensorCut; valid while this lives. Sums are added in rank order, as
  /// Communicator's are.
  std::shared_ptr<TensorGroup> group(int rank);

 private:
  class HostGroup;
  void serve(int rank, int aten_threads);
  void work_as(int rank);

  std::barrier<> together_;
  std::atomic<bool> failed_ = false;
  std::vector<at::Tensor> given_;  // by each rank to the sum or gather under way

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  const std::function<void(int)>* work_ = nullptr;
  std::uint64_t round_ = 0;  // of run; each rank does each once
  int busy_ = 0;             // ranks that have not done this round
  bool over_ = false;
  std::exception_ptr first_error_;
  std::vector<std::thread> threads_;  // last: they use the others
};

}  // namespace troupe
