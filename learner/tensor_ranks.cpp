#include "learner/tensor_ranks.h"

#include <ATen/Functions.h>

#include <span>
#include <utility>
#include <vector>

#include "common/base/error.h"

namespace troupe {
namespace {

constexpr const char* kSummed = "rows of a model that ranks hold together";
constexpr const char* kGathered = "parts of what ranks hold together";

std::span<float> floats(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

std::vector<std::int64_t> shape_of_all(const at::Tensor& own, int ranks) {
  std::vector<std::int64_t> shape = own.sizes().vec();
  shape.insert(shape.begin(), ranks);
  return shape;
}

}  // namespace

TensorRanks::TensorRanks(std::unique_ptr<Communicator> ranks) : ranks_(std::move(ranks)) {}

DeviceRanks* TensorRanks::device_ranks(const at::Tensor& values) {
  if (!values.is_cuda()) return nullptr;
  if (!device_ranks_) device_ranks_ = nccl_ranks(*ranks_);
  return device_ranks_->get();
}

void TensorRanks::sum_(const at::Tensor& values) {
  check(values.scalar_type() == at::kFloat && values.is_contiguous(), "what a tensor group sums is contiguous fp32");
  if (values.numel() == 0) return;
  if (DeviceRanks* const devices = device_ranks(values)) {
    const std::int64_t count = values.numel(), part = (count + size() - 1) / size();
    const at::Tensor padded = at::zeros({part * size()}, values.options());
    padded.narrow(0, 0, count).copy_(values.view({count}));
    const at::Tensor sum = devices->all_gather(devices->reduce_scatter_sum(padded, kSummed), kSummed);
    values.view({count}).copy_(sum.narrow(0, 0, count));
    return;
  }
  const at::Tensor on_cpu = values.cpu();  // the tensor itself where it lies there
  ranks_->all_reduce_sum(floats(on_cpu), kSummed);
  if (values.is_cuda()) values.copy_(on_cpu);
}

at::Tensor TensorRanks::gather(const at::Tensor& own) {
  check(own.is_contiguous(), "what a tensor group gathers is contiguous");
  const std::vector<std::int64_t> shape = shape_of_all(own, size());
  if (own.numel() == 0) return at::empty(shape, own.options());
  if (DeviceRanks* const devices = device_ranks(own)) {
    devices->meet();
    const at::Tensor all = devices->all_gather(own.view({own.numel()}), kGathered).view(shape);
    devices->wait();
    return all;
  }
  const at::Tensor on_cpu = own.cpu(), all = at::empty(shape, on_cpu.options());
  ranks_->all_gather({static_cast<const std::byte*>(on_cpu.const_data_ptr()), on_cpu.nbytes()},
                     {static_cast<std::byte*>(all.mutable_data_ptr()), all.nbytes()}, kGathered);
  return all.to(own.device());
}

}  // namespace troupe
