#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

namespace troupe {

/// Where a role computes: `asked` is the value of configuration key `key`, auto, cpu or cuda; auto takes a GPU where this build has
/// CUDA, one is there and `dtype` is bf16. Ranks take the GPUs in turn; the calling thread's current one is set. @throws ConfigError naming the key where it
/// asks for a GPU that cannot be had, or for one in fp32.
at::Device compute_device(const std::string& asked, const std::string& key, at::ScalarType dtype, std::int64_t rank = 0);

/// Bytes of memory that can still be had there: on the CPU as the kernel estimates it for this machine.
std::int64_t available_bytes(at::Device device);

/// Of the thread's current GPU.
std::int64_t available_gpu_bytes();

}  // namespace troupe
