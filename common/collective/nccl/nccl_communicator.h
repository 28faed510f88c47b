#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/collective/communicator.h"

namespace troupe {

/// The verbs of Communicator on the memory of one GPU, through NCCL. Each is enqueued on a stream and `wait` sees it
/// done; all ranks enqueue the same operations in the same order. Sums are in NCCL's order: the same bits in every run
/// on the same number and kind of GPUs with NCCL_ALGO, NCCL_PROTO and channels fixed, not those of the host
/// communicators. Where a deadline passes or NCCL reports an error the communicator is aborted, so that no kernel keeps
/// the GPU, and DeviceError names rank and the operation, tensor and sequence number that is not done (NCCL does not say who is behind). One
/// thread at a time; `progress` from any thread.
class NcclCommunicator {
 public:
  using UniqueId = std::array<char, NCCL_UNIQUE_ID_BYTES>;

  /// Made on one rank and brought to the others (through the host communicator).
  static UniqueId make_unique_id();

  /// Joins on the current CUDA device. Collective; without blocking inside NCCL, so that a missing rank ends it at the
  /// deadline. @throws DeviceError.
  /// `who` stands for what a rank is, in errors.
  NcclCommunicator(const UniqueId& id, int rank, int size, double deadline_s, std::string who = "learner rank");
  /// Aborts unless closed; waits for nobody.
  ~NcclCommunicator();
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  /// data[i] := sum over ranks of data[i].
  void all_reduce_sum(float* data, std::size_t count, cudaStream_t stream, std::string_view tensor);
  void all_reduce_sum(double* data, std::size_t count, cudaStream_t stream, std::string_view tensor);
  /// out := this rank's `count` elements of the sum over ranks of `in` (size() * count elements).
  void reduce_scatter_sum(const float* in, float* out, std::size_t count, cudaStream_t stream, std::string_view tensor);
  /// out := the ranks' `bytes` bytes of `in`, one after the other; `in` may be this rank's slice of `out`.
  void all_gather(const void* in, void* out, std::size_t bytes, cudaStream_t stream, std::string_view tensor);
  /// Slice r of `in` (size() slices of `bytes`) goes to rank r; out := the ranks' slices for this rank, one after the other.
  void all_to_all(const void* in, void* out, std::size_t bytes, cudaStream_t stream, std::string_view tensor);
  void broadcast(void* data, std::size_t bytes, int root, cudaStream_t stream, std::string_view tensor);
  /// Returns when every rank has come here.
  void barrier(cudaStream_t stream);

  /// Returns when all that was enqueued on `stream` is done. @throws DeviceError after the deadline, which counts from
  /// this call.
  void wait(cudaStream_t stream);

  /// Leaves together. Nothing may be called afterwards.
  void close(cudaStream_t stream);

  CollectiveProgress progress() const { return {sequence_.load(), operation_.load()}; }

 private:
  template <class Call>
  void enqueue(const char* operation, std::string_view tensor, cudaStream_t stream, Call call);
  /// Makes the first operation that is not done the one of errors.
  void name_first_under_way();
  /// Polls until NCCL has finished a call that it goes on with by itself.
  void settle(ncclResult_t result, const Deadline& deadline);
  void abort() noexcept;
  [[noreturn]] void fail(const std::string& what);

  const int rank_;
  const int size_;
  const double deadline_s_;
  const std::string who_;
  ncclComm_t communicator_ = nullptr;
  float* barrier_cell_ = nullptr;  // on the device
  std::string tensor_;             // of the last operation
  struct Enqueued {
    const char* operation;
    std::string tensor;
    std::uint64_t sequence;
  };
  std::vector<Enqueued> under_way_;  // since the last wait
  std::vector<cudaEvent_t> ends_;    // theirs, and more from earlier
  std::atomic<std::uint64_t> sequence_{0};
  std::atomic<const char*> operation_{"init"};
};

}  // namespace troupe
