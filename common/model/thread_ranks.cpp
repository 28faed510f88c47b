#include "common/model/thread_ranks.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <utility>

#include "common/base/error.h"

namespace troupe {

class ThreadRanks::HostGroup final : public TensorGroup {
 public:
  HostGroup(ThreadRanks& ranks, int rank) : ranks_(ranks), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return ranks_.size(); }

  /// Each rank adds a run of the elements, and writes their sums to all.
  void sum_(const at::Tensor& values) override {
    check(values.scalar_type() == at::kFloat && values.is_contiguous(), "what a tensor group sums is contiguous fp32");
    constexpr std::int64_t kBlock = 64;  // floats: no two ranks write to one line of the cache
    give(values);
    std::vector<float*> all;
    for (const at::Tensor& theirs : ranks_.given_) all.push_back(theirs.mutable_data_ptr<float>());
    const std::int64_t count = values.numel(), blocks = (count + kBlock - 1) / kBlock;
    std::array<float, kBlock> sums;
    for (std::int64_t block = blocks * rank_ / size(); block < blocks * (rank_ + 1) / size(); ++block) {
      const std::int64_t begin = block * kBlock, n = std::min(kBlock, count - begin);
      std::copy_n(all[0] + begin, n, sums.begin());
      for (std::size_t r = 1; r < all.size(); ++r) {
        for (std::int64_t i = 0; i < n; ++i) sums[static_cast<std::size_t>(i)] += all[r][begin + i];
      }
      for (float* const theirs : all) std::copy_n(sums.begin(), n, theirs + begin);
    }
    ranks_.meet();
  }

  at::Tensor gather(const at::Tensor& own) override {
    give(own);
    at::Tensor all = at::stack(ranks_.given_);
    ranks_.meet();
    return all;
  }

 private:
  void give(const at::Tensor& own) {
    ranks_.given_[static_cast<std::size_t>(rank_)] = own;
    ranks_.meet();
  }

  ThreadRanks& ranks_;
  int rank_;
};

ThreadRanks::ThreadRanks(int count) : together_(count), given_(static_cast<std::size_t>(count)) {
  const int all = at::get_num_threads();
  for (int rank = 0; rank < count; ++rank)
    threads_.emplace_back([this, rank, share = std::max(1, all / count)] { serve(rank, share); });
  run([](int) {});
  at::set_num_threads(all);  // what a thread sets for itself is the default of threads to come
}

ThreadRanks::~ThreadRanks() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::shared_ptr<TensorGroup> ThreadRanks::group(int rank) { return std::make_shared<HostGroup>(*this, rank); }

void ThreadRanks::run(const std::function<void(int rank)>& work) {
  std::unique_lock lock(mutex_);
  if (failed_) throw DeviceError("a rank of this model failed before");
  work_ = &work;
  busy_ = size();
  ++round_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return busy_ == 0; });
  if (first_error_) std::rethrow_exception(first_error_);
}

void ThreadRanks::meet() {
  together_.arrive_and_wait();
  if (failed_) throw DeviceError("another rank of this model failed");
}

void ThreadRanks::serve(int rank, int aten_threads) {
  at::get_num_threads();  // takes the default, which would else replace what is set now when first needed
  at::set_num_threads(aten_threads);
  std::unique_lock lock(mutex_);
  for (std::uint64_t done = 0;; ++done) {
    changed_.wait(lock, [&] { return over_ || round_ > done; });
    if (over_) return;
    lock.unlock();
    work_as(rank);
    lock.lock();
    if (--busy_ == 0) changed_.notify_all();
  }
}

void ThreadRanks::work_as(int rank) {
  try {
    (*work_)(rank);
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      if (!first_error_) first_error_ = std::current_exception();
    }
    failed_ = true;
    together_.arrive_and_drop();  // nobody waits for this rank any more
  }
}

}  // namespace troupe
