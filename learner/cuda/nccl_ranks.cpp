#include <algorithm>
#include <array>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "common/base/fault.h"
#include "common/collective/nccl/nccl_communicator.h"
#include "common/model/cuda/device.h"
#include "learner/device_ranks.h"

namespace troupe {
namespace {

/// Collective.
NcclCommunicator::UniqueId common_id(Communicator& ranks) {
  NcclCommunicator::UniqueId id{};
  if (ranks.rank() == 0) id = NcclCommunicator::make_unique_id();
  ranks.broadcast(std::as_writable_bytes(std::span(id)), 0, "NCCL id");
  return id;
}

/// Collective.
bool share_a_gpu(Communicator& ranks) {
  int device = 0;
  cudaDeviceProp properties{};
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  const auto size = static_cast<std::size_t>(ranks.size());
  std::vector<std::array<char, sizeof(properties.uuid.bytes)>> all(size);
  auto& own = all[static_cast<std::size_t>(ranks.rank())];
  std::copy(std::begin(properties.uuid.bytes), std::end(properties.uuid.bytes), own.begin());
  ranks.all_gather(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all)), "GPUs");
  return std::set(all.begin(), all.end()).size() < size;
}

/// How long the current stream waits for collectives, by events before and behind each.
class StreamWaits {
 public:
  void begin() {
    if (used_ == events_.size()) events_.emplace_back(at::cuda::CUDAEvent(cudaEventDefault), at::cuda::CUDAEvent(cudaEventDefault));
    events_[used_].first.record();
  }
  void end() { events_[used_++].second.record(); }
  /// Seconds since the last call. The stream has come to their end.
  double take_s() {
    double milliseconds = 0;
    for (std::size_t i = 0; i < used_; ++i) milliseconds += double{events_[i].first.elapsed_time(events_[i].second)};
    used_ = 0;
    return milliseconds / 1e3;
  }

 private:
  std::vector<std::pair<at::cuda::CUDAEvent, at::cuda::CUDAEvent>> events_;
  std::size_t used_ = 0;
};

class NcclRanks : public DeviceRanks {
 public:
  explicit NcclRanks(Communicator& ranks) : ranks_(ranks), nccl_(common_id(ranks), ranks.rank(), ranks.size(), ranks.deadline_s()) {}

  void meet() override {
    ranks_.barrier();
    fault::point("collective.nccl");
  }

  // Slices are exchanged and added here, so that the order is the ranks' whatever the links between the GPUs.
  at::Tensor reduce_scatter_sum(const at::Tensor& whole, std::string_view tensor) override {
    const at::Tensor slices = at::empty_like(whole);
    const std::int64_t count = whole.numel() / ranks_.size();
    const std::size_t slice_bytes = whole.nbytes() / static_cast<std::size_t>(ranks_.size());
    waits_.begin();
    nccl_.all_to_all(whole.const_data_ptr(), slices.mutable_data_ptr(), slice_bytes, current_stream(), tensor);
    waits_.end();
    at::Tensor sum = slices.narrow(0, 0, count).clone();
    for (int rank = 1; rank < ranks_.size(); ++rank) sum.add_(slices.narrow(0, rank * count, count));
    return sum;
  }

  at::Tensor all_gather(const at::Tensor& own, std::string_view tensor) override {
    const at::Tensor all = at::empty({own.numel() * ranks_.size()}, own.options());
    waits_.begin();
    nccl_.all_gather(own.const_data_ptr(), all.mutable_data_ptr(), own.nbytes(), current_stream(), tensor);
    waits_.end();
    return all;
  }

  std::function<void()> start_all_gather(const at::Tensor& own, const at::Tensor& all, std::string_view tensor) override {
    const auto before = std::make_shared<at::cuda::CUDAEvent>(), after = std::make_shared<at::cuda::CUDAEvent>();
    before->record();
    before->block(beside_);
    nccl_.all_gather(own.const_data_ptr(), all.mutable_data_ptr(), own.nbytes(), beside_.stream(), tensor);
    after->record(beside_);
    return [this, own, all, after] {
      waits_.begin();
      after->block(c10::cuda::getCurrentCUDAStream());
      waits_.end();
    };
  }

  void wait() override {
    nccl_.wait(current_stream());
    ranks_.add_wait(waits_.take_s());
  }

 private:
  Communicator& ranks_;
  NcclCommunicator nccl_;
  StreamWaits waits_;
  const c10::cuda::CUDAStream beside_ = c10::cuda::getStreamFromPool();
};

}  // namespace

std::unique_ptr<DeviceRanks> nccl_ranks(Communicator& ranks) {
  if (share_a_gpu(ranks)) return nullptr;
  return std::make_unique<NcclRanks>(ranks);
}

}  // namespace troupe
