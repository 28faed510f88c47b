#include "common/base/error.h"
#include "common/model/broadcast_group.h"
#include "common/model/bucket_checksums.h"
#include "common/model/compute_device.h"
#include "common/model/cuda/adamw.h"
#include "common/model/cuda/cuda_passes.h"
#include "common/model/cuda/token_logprobs.h"
#include "common/model/pinned_range.h"
#include "common/model/transformer.h"

// A build without CUDA: a model on a GPU cannot even be made, so nothing behind the constructor is ever reached.

namespace troupe {

CudaPasses::CudaPasses(const Parameters& parameters, bool) : offsets_(parameters.layout(), parameters.architecture()), parameters_(parameters) {
  throw ConfigError("this build of troupe has no CUDA: configure it with TROUPE_CUDA=ON, or use device = cpu");
}
at::Tensor CudaPasses::forward(const PackedSequences&, const at::Tensor&, Activations*) const { return {}; }
void CudaPasses::backward(const PackedSequences&, const at::Tensor&, const Activations&, const at::Tensor&, GradientUnits&) const {}
at::Tensor CudaPasses::forward_cached(const at::Tensor&, std::span<const CachedRun>, const at::Tensor&, KvCache&) const { return {}; }
at::Tensor CudaPasses::logits(const at::Tensor&) const { return {}; }

std::unique_ptr<BroadcastGroup> join_broadcast_group(const BroadcastPlace&, at::Device, double) { return nullptr; }
std::string new_broadcast_id() { return ""; }
std::string gpu_name(at::Device) { return ""; }

PinnedRange::PinnedRange(std::span<const std::byte> bytes, bool) : bytes_(bytes) {}
PinnedRange::~PinnedRange() = default;
std::int64_t available_gpu_bytes() { return 0; }

namespace cuda {
at::Tensor bucket_checksums(const at::Tensor&, std::uint64_t) { return {}; }
void adamw_(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const AdamWStep&, const at::Tensor&, const at::Tensor&) {}
at::Tensor block_squares(const at::Tensor&) { return {}; }
ExactGpuSum::ExactGpuSum() = default;
void ExactGpuSum::add(const at::Tensor&) {}
ExactSum ExactGpuSum::sum() const { return {}; }
TokenLogprobs token_logprobs(const at::Tensor&, const at::Tensor&, const at::Tensor&, double) { return {}; }
at::Tensor token_logprobs_backward(const at::Tensor&, const at::Tensor&, const at::Tensor&, double, const TokenLogprobs&, const at::Tensor&,
                                   at::Tensor&) {
  return {};
}
}  // namespace cuda

}  // namespace troupe
