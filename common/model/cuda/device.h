#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include "common/model/kernels/kernels.h"

namespace troupe {

/// @throws DeviceError naming the call and CUDA's reason where `error` is one.
void check_cuda(cudaError_t error, const char* call);

/// ATen's stream of this thread: everything of ours is put there, in order with ATen's own work.
inline cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

inline at::TensorOptions on_gpu(at::ScalarType dtype) { return at::TensorOptions(dtype).device(at::kCUDA); }

/// Small arrays of int32 that go to the GPU in one copy.
class DeviceInts {
 public:
  /// Takes the array's place; call before upload.
  std::int64_t add(std::span<const std::int32_t> values);
  std::int64_t add(std::span<const std::int64_t> values);
  void upload();
  /// The array that `add` gave this place, [count] on the GPU.
  at::Tensor at(std::int64_t place, std::int64_t count) const { return device_.narrow(0, place, count); }
  const std::int32_t* data(std::int64_t place) const { return device_.const_data_ptr<std::int32_t>() + place; }

 private:
  std::vector<std::int32_t> host_;
  at::Tensor device_;
};

}  // namespace troupe
