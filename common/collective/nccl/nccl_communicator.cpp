#include "common/collective/nccl/nccl_communicator.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "common/base/error.h"

namespace troupe {
namespace {

constexpr auto kShortestSleep = std::chrono::microseconds(5);
constexpr auto kLongestSleep = std::chrono::microseconds(200);

/// Polls `done` with growing pauses; false where the deadline passed.
template <class Done>
bool poll(const Deadline& deadline, Done done) {
  for (auto pause = kShortestSleep; !done(); pause = std::min(2 * pause, kLongestSleep)) {
    if (deadline.expired()) return false;
    std::this_thread::sleep_for(pause);
  }
  return true;
}

void demand(cudaError_t code, const char* call) {
  if (code != cudaSuccess) throw DeviceError(std::string(call) + ": " + cudaGetErrorString(code));
}

}  // namespace

NcclCommunicator::UniqueId NcclCommunicator::make_unique_id() {
  ncclUniqueId id;
  const ncclResult_t result = ncclGetUniqueId(&id);
  if (result != ncclSuccess) throw DeviceError(std::string("ncclGetUniqueId: ") + ncclGetErrorString(result));
  UniqueId bytes;
  std::copy(std::begin(id.internal), std::end(id.internal), bytes.begin());
  return bytes;
}

NcclCommunicator::NcclCommunicator(const UniqueId& id, int rank, int size, double deadline_s, std::string who)
    : rank_(rank), size_(size), deadline_s_(deadline_s), who_(std::move(who)) {
  check(size >= 1 && rank >= 0 && rank < size && deadline_s > 0, "NCCL rank, size or deadline out of range");
  ncclUniqueId nccl_id;
  std::copy(id.begin(), id.end(), std::begin(nccl_id.internal));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const Deadline deadline = Deadline::after_s(deadline_s_);
  settle(ncclCommInitRankConfig(&communicator_, size, nccl_id, rank, &config), deadline);
  try {
    demand(cudaMalloc(&barrier_cell_, sizeof(float)), "cudaMalloc");
    demand(cudaMemset(barrier_cell_, 0, sizeof(float)), "cudaMemset");
  } catch (...) {
    abort();
    throw;
  }
}

NcclCommunicator::~NcclCommunicator() {
  abort();
  for (const cudaEvent_t end : ends_) cudaEventDestroy(end);
  cudaFree(barrier_cell_);
}

void NcclCommunicator::abort() noexcept {
  if (communicator_ != nullptr) ncclCommAbort(communicator_);
  communicator_ = nullptr;
}

void NcclCommunicator::fail(const std::string& what) {
  abort();
  throw DeviceError(who_ + " " + std::to_string(rank_) + " of " + std::to_string(size_) + ": NCCL " +
                    operation_.load() + (tensor_.empty() ? "" : " of " + tensor_) + ", sequence " +
                    std::to_string(sequence_.load()) + ": " + what);
}

void NcclCommunicator::settle(ncclResult_t result, const Deadline& deadline) {
  const bool in_time = poll(deadline, [&] {
    if (result == ncclInProgress && ncclCommGetAsyncError(communicator_, &result) != ncclSuccess) {
      result = ncclInternalError;
    }
    return result != ncclInProgress;
  });
  if (!in_time) fail("a rank is missing after " + std::to_string(deadline_s_) + " s");
  if (result != ncclSuccess) fail(std::string(ncclGetErrorString(result)) + ", " + ncclGetLastError(communicator_));
}

template <class Call>
void NcclCommunicator::enqueue(const char* operation, std::string_view tensor, cudaStream_t stream, Call call) {
  operation_.store(operation);
  tensor_ = tensor;
  ++sequence_;
  if (communicator_ == nullptr) fail("the communicator was closed, or failed before");
  settle(call(), Deadline::after_s(deadline_s_));
  if (under_way_.size() == ends_.size()) {
    ends_.push_back(nullptr);
    demand(cudaEventCreateWithFlags(&ends_.back(), cudaEventDisableTiming), "cudaEventCreate");
  }
  demand(cudaEventRecord(ends_[under_way_.size()], stream), "cudaEventRecord");
  under_way_.push_back({operation, tensor_, sequence_.load()});
}

void NcclCommunicator::name_first_under_way() {
  for (std::size_t i = 0; i < under_way_.size(); ++i) {
    if (cudaEventQuery(ends_[i]) == cudaSuccess) continue;
    operation_.store(under_way_[i].operation);
    tensor_ = under_way_[i].tensor;
    sequence_.store(under_way_[i].sequence);
    return;
  }
}

void NcclCommunicator::all_reduce_sum(float* data, std::size_t count, cudaStream_t stream, std::string_view tensor) {
  enqueue("all_reduce_sum", tensor, stream,
          [&] { return ncclAllReduce(data, data, count, ncclFloat32, ncclSum, communicator_, stream); });
}

void NcclCommunicator::all_reduce_sum(double* data, std::size_t count, cudaStream_t stream, std::string_view tensor) {
  enqueue("all_reduce_sum", tensor, stream,
          [&] { return ncclAllReduce(data, data, count, ncclFloat64, ncclSum, communicator_, stream); });
}

void NcclCommunicator::reduce_scatter_sum(const float* in, float* out, std::size_t count, cudaStream_t stream,
                                          std::string_view tensor) {
  enqueue("reduce_scatter_sum", tensor, stream,
          [&] { return ncclReduceScatter(in, out, count, ncclFloat32, ncclSum, communicator_, stream); });
}

void NcclCommunicator::all_gather(const void* in, void* out, std::size_t bytes, cudaStream_t stream,
                                  std::string_view tensor) {
  enqueue("all_gather", tensor, stream, [&] { return ncclAllGather(in, out, bytes, ncclInt8, communicator_, stream); });
}

void NcclCommunicator::all_to_all(const void* in, void* out, std::size_t bytes, cudaStream_t stream, std::string_view tensor) {
  enqueue("all_to_all", tensor, stream, [&] {
    ncclResult_t result = ncclGroupStart();
    for (int r = 0; r < size_ && result == ncclSuccess; ++r) {
      const std::size_t at = static_cast<std::size_t>(r) * bytes;
      result = ncclSend(static_cast<const char*>(in) + at, bytes, ncclInt8, r, communicator_, stream);
      if (result == ncclSuccess) result = ncclRecv(static_cast<char*>(out) + at, bytes, ncclInt8, r, communicator_, stream);
    }
    const ncclResult_t ended = ncclGroupEnd();
    return result == ncclSuccess ? ended : result;
  });
}

void NcclCommunicator::broadcast(void* data, std::size_t bytes, int root, cudaStream_t stream,
                                 std::string_view tensor) {
  enqueue("broadcast", tensor, stream, [&] { return ncclBroadcast(data, data, bytes, ncclInt8, root, communicator_, stream); });
}

void NcclCommunicator::barrier(cudaStream_t stream) {
  enqueue("barrier", "", stream,
          [&] { return ncclAllReduce(barrier_cell_, barrier_cell_, 1, ncclFloat32, ncclSum, communicator_, stream); });
  wait(stream);
}

void NcclCommunicator::wait(cudaStream_t stream) {
  if (communicator_ == nullptr) fail("the communicator was closed, or failed before");
  cudaError_t state = cudaErrorNotReady;
  ncclResult_t nccl_state = ncclSuccess;
  const bool in_time = poll(Deadline::after_s(deadline_s_), [&] {
    state = cudaStreamQuery(stream);
    ncclCommGetAsyncError(communicator_, &nccl_state);
    return state != cudaErrorNotReady || (nccl_state != ncclSuccess && nccl_state != ncclInProgress);
  });
  const bool nccl_failed = nccl_state != ncclSuccess && nccl_state != ncclInProgress;
  if (!in_time || nccl_failed || state != cudaSuccess) name_first_under_way();
  if (!in_time) fail("not done after " + std::to_string(deadline_s_) + " s: a rank is behind");
  if (nccl_failed) fail(ncclGetErrorString(nccl_state));
  if (state != cudaSuccess) fail(cudaGetErrorString(state));
  under_way_.clear();
}

void NcclCommunicator::close(cudaStream_t stream) {
  barrier(stream);
  operation_.store("close");
  settle(ncclCommFinalize(communicator_), Deadline::after_s(deadline_s_));
  ncclCommDestroy(communicator_);
  communicator_ = nullptr;
}

}  // namespace troupe
