#include "common/model/cuda/device.h"

#include <string>

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/compute_device.h"

namespace troupe {

void check_cuda(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  throw DeviceError(std::string(call) + ": " + cudaGetErrorName(error) + ", " + cudaGetErrorString(error));
}

std::int64_t available_gpu_bytes() {
  std::size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return static_cast<std::int64_t>(free);
}

std::int64_t DeviceInts::add(std::span<const std::int32_t> values) {
  const std::int64_t place = std::ssize(host_);
  host_.insert(host_.end(), values.begin(), values.end());
  host_.resize((host_.size() + 3) / 4 * 4);  // each array begins at 16 bytes
  return place;
}

std::int64_t DeviceInts::add(std::span<const std::int64_t> values) {
  std::vector<std::int32_t> narrow(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) narrow[i] = static_cast<std::int32_t>(values[i]);
  return add(std::span<const std::int32_t>(narrow));
}

void DeviceInts::upload() {
  device_ = at::from_blob(host_.data(), {std::ssize(host_)}, at::kInt).to(at::kCUDA);
}

}  // namespace troupe
