#include "common/model/broadcast_group.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "common/base/error.h"
#include "common/collective/nccl/nccl_communicator.h"
#include "common/model/cuda/device.h"

namespace troupe {
namespace {

NcclCommunicator::UniqueId id_of(const BroadcastPlace& place) {
  NcclCommunicator::UniqueId id{};
  check(place.id.size() == id.size(), "an id of NCCL has another size");
  std::copy(place.id.begin(), place.id.end(), id.begin());
  return id;
}

class NcclBroadcastGroup : public BroadcastGroup {
 public:
  NcclBroadcastGroup(const BroadcastPlace& place, at::Device device, double deadline_s)
      : stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())) {
    const c10::cuda::CUDAGuard guard(device);
    nccl_.emplace(id_of(place), place.rank, place.size, deadline_s, "weights to actors: member");
  }

  void broadcast(const at::Tensor& flat) override {
    check(flat.is_cuda() && flat.is_contiguous(), "weights are broadcast between GPUs");
    const c10::cuda::CUDAGuard guard(stream_.device());
    check_cuda(cudaStreamSynchronize(current_stream()), "making weights");  // what is sent was written there
    nccl_->broadcast(flat.mutable_data_ptr(), flat.nbytes(), 0, stream_, "weights");
    nccl_->wait(stream_);
  }

 private:
  c10::cuda::CUDAStream stream_;
  std::optional<NcclCommunicator> nccl_;
};

}  // namespace

std::unique_ptr<BroadcastGroup> join_broadcast_group(const BroadcastPlace& place, at::Device device, double deadline_s) {
  return std::make_unique<NcclBroadcastGroup>(place, device, deadline_s);
}

std::string new_broadcast_id() {
  const NcclCommunicator::UniqueId id = NcclCommunicator::make_unique_id();
  return {id.begin(), id.end()};
}

std::string gpu_name(at::Device device) {
  if (!device.is_cuda()) return "";
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device.index()), "cudaGetDeviceProperties");
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string name = "GPU-";
  for (const char c : properties.uuid.bytes) {
    const auto byte = static_cast<unsigned char>(c);
    name += kDigits[byte >> 4];
    name += kDigits[byte & 15];
  }
  return name;
}

}  // namespace troupe
