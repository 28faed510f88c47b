#include "common/model/cuda/hopper/tensor_map.h"

#include <array>
#include <string>

#include "common/base/error.h"
#include "common/model/cuda/device.h"

namespace troupe::cuda {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

/// The driver's function, without linking the driver.
Encode encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check_cuda(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
             "cudaGetDriverEntryPointByVersion");
  if (found != cudaDriverEntryPointSuccess)
    throw DeviceError("the driver has no cuTensorMapEncodeTiled: expected one of CUDA 12 or later");
  return reinterpret_cast<Encode>(function);
}

template <std::size_t kRank>
CUtensorMap encode(const Bf16* start, const std::array<cuuint64_t, kRank>& sizes,
                   const std::array<cuuint64_t, kRank - 1>& byte_strides, const std::array<cuuint32_t, kRank>& box) {
  static const Encode function = encoder();
  std::array<cuuint32_t, kRank> steps;
  steps.fill(1);
  CUtensorMap map{};
  const CUresult result =
      function(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, kRank, const_cast<Bf16*>(start), sizes.data(), byte_strides.data(),
               box.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) throw DeviceError("cuTensorMapEncodeTiled: error " + std::to_string(static_cast<int>(result)));
  return map;
}

int attribute_of_gpu(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&value, attribute, device), "cudaDeviceGetAttribute");
  return value;
}

}  // namespace

bool is_hopper() { return attribute_of_gpu(cudaDevAttrComputeCapabilityMajor) == 9; }

int multiprocessors() { return attribute_of_gpu(cudaDevAttrMultiProcessorCount); }

void allow_shared_memory(const void* kernel, std::size_t bytes) {
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
             "cudaFuncSetAttribute");
}

bool can_map(const Bf16* rows_, std::int64_t stride) {
  return reinterpret_cast<std::uintptr_t>(rows_) % 16 == 0 && stride % 8 == 0;
}

CUtensorMap map_of(const Bf16* rows_, std::int64_t rows, std::int64_t columns, int box_rows) {
  const auto size = [](std::int64_t value) { return static_cast<cuuint64_t>(value); };
  return encode<2>(rows_, {size(columns), size(rows)}, {size(columns) * sizeof(Bf16)}, {64, static_cast<cuuint32_t>(box_rows)});
}

CUtensorMap map_of_heads(const Bf16* rows_, std::int64_t rows, std::int64_t heads, std::int64_t head_size, std::int64_t stride,
                         int box_rows) {
  const auto size = [](std::int64_t value) { return static_cast<cuuint64_t>(value); };
  return encode<3>(rows_, {size(head_size), size(heads), size(rows)}, {size(head_size) * sizeof(Bf16), size(stride) * sizeof(Bf16)},
                   {64, 1, static_cast<cuuint32_t>(box_rows)});
}

}  // namespace troupe::cuda
