#pragma once

#include <memory>
#include <optional>

#include "common/collective/communicator.h"
#include "common/model/tensor_cut.h"
#include "learner/device_ranks.h"

namespace troupe {

/// A tensor group over a communicator of its ranks; between GPUs over NCCL, or over the CPU where ranks share one. Over NCCL sums are taken
/// in the order of the stream: the gather at the end of a forward pass waits for them with a deadline, and after a backward one the optimizer.
class TensorRanks final : public TensorGroup {
 public:
  explicit TensorRanks(std::unique_ptr<Communicator> ranks);

  int rank() const override { return ranks_->rank(); }
  int size() const override { return ranks_->size(); }
  void sum_(const at::Tensor& values) override;
  at::Tensor gather(const at::Tensor& own) override;

 private:
  /// Those between the GPUs; null where collectives go over the CPU. Collective the first time.
  DeviceRanks* device_ranks(const at::Tensor& values);

  std::unique_ptr<Communicator> ranks_;
  std::optional<std::unique_ptr<DeviceRanks>> device_ranks_;
};

}  // namespace troupe
