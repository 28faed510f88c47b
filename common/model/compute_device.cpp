#include "common/model/compute_device.h"

#include <unistd.h>

#include <fstream>
#include <string_view>

#include <ATen/Context.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "common/base/error.h"

namespace troupe {

at::Device compute_device(const std::string& asked, const std::string& key, at::ScalarType dtype, std::int64_t rank) {
  const bool low = dtype == at::kBFloat16;
  if (asked != "auto" && asked != "cpu" && asked != "cuda") throw ConfigError(key + " = " + asked + ": expected auto, cpu or cuda");
  if (asked == "cpu" || (asked == "auto" && !low)) return at::kCPU;
  const std::int64_t gpus = at::globalContext().hasCUDA() ? static_cast<std::int64_t>(at::getNumGPUs()) : 0;
  if (asked == "auto" && gpus == 0) return at::kCPU;
  if (gpus == 0) throw ConfigError(key + " = cuda: this build of troupe has no CUDA, or there is no GPU here; expected cpu or auto");
  if (!low) throw ConfigError(key + " = cuda: expected model.dtype = bf16, a GPU computes in nothing else");
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(rank % gpus));
  c10::impl::VirtualGuardImpl(at::kCUDA).setDevice(device);
  return device;
}

std::int64_t available_bytes(at::Device device) {
  if (!device.is_cpu()) return available_gpu_bytes();
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    constexpr std::string_view kKey = "MemAvailable:";
    if (line.starts_with(kKey)) return std::stoll(line.substr(kKey.size())) * 1024;
  }
  return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE) / 2;
}

}  // namespace troupe
