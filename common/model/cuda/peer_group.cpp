#include "common/model/cuda/peer_group.h"

#include <ATen/Functions.h>
#include <ATen/cuda/CUDAEvent.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/model/cuda/device.h"
#include "common/model/cuda/peer_sum.h"

namespace troupe {
namespace {

constexpr std::int64_t kCapacity = 1 << 21;  // floats of a sum; longer ones go in pieces

/// Lets the thread's current GPU read the memory of another.
void enable_access(int own, int other) {
  int able = 0;
  check_cuda(cudaDeviceCanAccessPeer(&able, own, other), "cudaDeviceCanAccessPeer");
  if (able == 0) {
    throw ConfigError("GPU " + std::to_string(own) + " cannot read the memory of GPU " + std::to_string(other) +
                      ": expected GPUs with peer access for the ranks of one model");
  }
  const cudaError_t enabled = cudaDeviceEnablePeerAccess(other, 0);
  if (enabled == cudaErrorPeerAccessAlreadyEnabled) return static_cast<void>(cudaGetLastError());
  check_cuda(enabled, "cudaDeviceEnablePeerAccess");
}

}  // namespace

/// What the ranks let each other read.
struct PeerRanks::Places {
  struct Place {
    int device = 0;
    at::Tensor terms;                            // [4, kCapacity]: two sides for sums in graphs, two for others
    at::Tensor arrived;                          // [kPeerBlocks], the kernel's
    std::array<at::cuda::CUDAEvent, 2> written;  // the terms of either side, outside graphs
  };
  explicit Places(int count) : of(static_cast<std::size_t>(count)) {}
  std::vector<Place> of;
};

class PeerRanks::Group final : public TensorGroup {
 public:
  Group(std::shared_ptr<Places> places, ThreadRanks& ranks, int rank)
      : places_(std::move(places)), ranks_(ranks), host_(ranks.group(rank)), rank_(rank) {
    Places::Place& own = places_->of[static_cast<std::size_t>(rank)];
    check_cuda(cudaGetDevice(&own.device), "cudaGetDevice");
    own.terms = at::zeros({4, kCapacity}, on_gpu(at::kFloat));
    own.arrived = at::zeros({cuda::kPeerBlocks}, on_gpu(at::kInt));
    check_cuda(cudaStreamSynchronize(current_stream()), "memory for sums with other GPUs");
    ranks_.meet();
    for (std::size_t i = 0; i < places_->of.size(); ++i) {
      const Places::Place& other = places_->of[i];
      if (other.device != own.device) enable_access(own.device, other.device);
      peers_.terms[i] = other.terms.mutable_data_ptr<float>();
      peers_.arrived[i] = reinterpret_cast<std::uint32_t*>(other.arrived.mutable_data_ptr<std::int32_t>());
    }
    peers_.capacity = kCapacity;
    peers_.ranks = size();
    peers_.rank = rank;
    ranks_.meet();
  }

  int rank() const override { return rank_; }
  int size() const override { return ranks_.size(); }

  void sum_(const at::Tensor& values) override {
    check(values.scalar_type() == at::kFloat && values.is_contiguous() && values.numel() % 4 == 0,
          "what GPUs sum is contiguous fp32, in fours");
    cudaStreamCaptureStatus capture{};
    check_cuda(cudaStreamIsCapturing(current_stream(), &capture), "cudaStreamIsCapturing");
    for (std::int64_t from = 0; from < values.numel(); from += kCapacity) {
      float* const piece = values.mutable_data_ptr<float>() + from;
      const std::int64_t count = std::min(kCapacity, values.numel() - from);
      if (capture == cudaStreamCaptureStatusActive)
        cuda::sum_with_peers(piece, count, peers_, current_stream());
      else
        sum_piece(piece, count);
    }
    check_cuda(cudaGetLastError(), "a sum over GPUs");
  }

  /// Ranks that share a GPU may come to wait for one another's kernels in vain there: one's launches can hold up another's.
  bool sums_in_graphs() const override {
    std::set<int> devices;
    for (const Places::Place& place : places_->of) devices.insert(place.device);
    return std::ssize(devices) == size();
  }

  at::Tensor gather(const at::Tensor& own) override { return host_->gather(own.cpu()).to(own.device()); }

 private:
  /// Outside graphs, where a rank's thread may have to wait for its GPU before it comes here (memory, kernels used for the first
  /// time), no kernel waits for another rank's: events do.
  void sum_piece(float* piece, std::int64_t count) {
    const std::size_t side = sums_++ % 2;
    const std::int64_t from = (2 + static_cast<std::int64_t>(side)) * kCapacity;
    const auto stream = c10::cuda::getCurrentCUDAStream();
    check_cuda(cudaMemcpyAsync(peers_.terms[rank_] + from, piece, static_cast<std::size_t>(count) * sizeof(float),
                               cudaMemcpyDeviceToDevice, stream),
               "cudaMemcpyAsync");
    places_->of[static_cast<std::size_t>(rank_)].written[side].record(stream);
    ranks_.meet();
    for (Places::Place& place : places_->of) place.written[side].block(stream);
    cuda::add_terms(piece, count, peers_, from, stream);
  }

  std::shared_ptr<Places> places_;  // shared by the ranks' groups
  ThreadRanks& ranks_;
  std::shared_ptr<TensorGroup> host_;
  int rank_;
  std::uint64_t sums_ = 0;  // outside graphs
  cuda::PeerTerms peers_{};
};

PeerRanks::PeerRanks(int count) : places_(std::make_shared<Places>(count)) {
  if (count <= cuda::kMostPeers) return;
  throw ConfigError(std::to_string(count) + " GPUs for one model: expected at most " + std::to_string(cuda::kMostPeers));
}

std::shared_ptr<TensorGroup> PeerRanks::group(ThreadRanks& ranks, int rank) {
  return std::make_shared<Group>(places_, ranks, rank);
}

}  // namespace troupe
