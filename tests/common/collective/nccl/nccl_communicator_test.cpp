#include "common/collective/nccl/nccl_communicator.h"

#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/error.h"

using namespace troupe;

namespace {

/// Numbers in device memory. Small whole numbers, so that sums are exact in any order.
class DeviceFloats {
 public:
  explicit DeviceFloats(const std::vector<float>& values) : size_(values.size()) {
    check(cudaMalloc(&data_, size_ * sizeof(float)) == cudaSuccess, "cudaMalloc");
    check(cudaMemcpy(data_, values.data(), size_ * sizeof(float), cudaMemcpyHostToDevice) == cudaSuccess, "cudaMemcpy");
  }
  DeviceFloats(const DeviceFloats&) = delete;
  DeviceFloats& operator=(const DeviceFloats&) = delete;
  ~DeviceFloats() { cudaFree(data_); }
  float* data() const { return data_; }
  std::vector<float> values() const {
    std::vector<float> host(size_);
    check(cudaMemcpy(host.data(), data_, size_ * sizeof(float), cudaMemcpyDeviceToHost) == cudaSuccess, "cudaMemcpy");
    return host;
  }

 private:
  float* data_ = nullptr;
  std::size_t size_;
};

/// `n` times `value`.
std::vector<float> repeated(std::size_t n, int value) { return std::vector<float>(n, static_cast<float>(value)); }

void check_every_verb(NcclCommunicator& ranks) {
  const int size = ranks.size();
  const int sum = size * (size + 1) / 2;  // of rank + 1
  const std::size_t n = 1000;
  const cudaStream_t stream = nullptr;

  const DeviceFloats reduced(repeated(n, ranks.rank() + 1));
  ranks.all_reduce_sum(reduced.data(), n, stream, "data");
  ranks.wait(stream);
  CHECK(reduced.values() == repeated(n, sum));

  const DeviceFloats whole(repeated(n * static_cast<std::size_t>(size), ranks.rank() + 1));
  const DeviceFloats slice(repeated(n, 0));
  ranks.reduce_scatter_sum(whole.data(), slice.data(), n, stream, "gradient");
  ranks.wait(stream);
  CHECK(slice.values() == repeated(n, sum));

  const DeviceFloats own(repeated(n, ranks.rank() + 1));
  const DeviceFloats all(repeated(n * static_cast<std::size_t>(size), 0));
  ranks.all_gather(own.data(), all.data(), n * sizeof(float), stream, "parameters");
  ranks.wait(stream);
  const std::vector<float> gathered = all.values();
  for (int r = 0; r < size; ++r) CHECK(gathered[n * static_cast<std::size_t>(r) + n - 1] == static_cast<float>(r + 1));

  std::vector<float> to_each;  // 100 * own rank + the receiver's
  for (int r = 0; r < size; ++r) to_each.insert(to_each.end(), n, static_cast<float>(100 * ranks.rank() + r));
  const DeviceFloats given(to_each), taken(repeated(n * static_cast<std::size_t>(size), -1));
  ranks.all_to_all(given.data(), taken.data(), n * sizeof(float), stream, "slices");
  ranks.wait(stream);
  for (int r = 0; r < size; ++r) {
    CHECK(taken.values()[n * static_cast<std::size_t>(r)] == static_cast<float>(100 * r + ranks.rank()));
    CHECK(taken.values()[n * static_cast<std::size_t>(r + 1) - 1] == static_cast<float>(100 * r + ranks.rank()));
  }

  const DeviceFloats sent(repeated(n, ranks.rank() + 1));
  ranks.broadcast(sent.data(), n * sizeof(float), size - 1, stream, "weights");
  ranks.wait(stream);
  CHECK(sent.values() == repeated(n, size));

  ranks.barrier(stream);
  CHECK(std::string(ranks.progress().operation) == "barrier");
  CHECK(ranks.progress().sequence == 6);
  ranks.close(stream);
  CHECK_THROWS_AS(ranks.barrier(stream), DeviceError);
}

int device_count() {
  int count = 0;
  check(cudaGetDeviceCount(&count) == cudaSuccess, "cudaGetDeviceCount");
  return count;
}

}  // namespace

TEST_SUITE("common/collective/nccl_communicator") {
  TEST_CASE("every verb is right over all GPUs of this machine") {
    const auto id = NcclCommunicator::make_unique_id();
    const int size = device_count();
    std::vector<std::string> errors(static_cast<std::size_t>(size));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank) {
      threads.emplace_back([&, rank] {
        try {
          check(cudaSetDevice(rank) == cudaSuccess, "cudaSetDevice");
          NcclCommunicator ranks(id, rank, size, 60);
          check_every_verb(ranks);
        } catch (const std::exception& error) {
          errors[static_cast<std::size_t>(rank)] = error.what();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();

    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("a rank that never joins ends the others' start at the deadline") {
    const auto start = std::chrono::steady_clock::now();

    std::string message;
    try {
      NcclCommunicator ranks(NcclCommunicator::make_unique_id(), 0, 2, 2.0);
    } catch (const DeviceError& error) {
      message = error.what();
    }

    CHECK(message.find("learner rank 0 of 2: NCCL init, sequence 0: a rank is missing after 2") == 0);
    CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 7);
  }

  TEST_CASE("a rank that stays away from an operation ends the others' wait, and the GPU is free again") {
    if (device_count() < 2) return;  // one rank a GPU: with one GPU there is nobody to wait for
    const auto id = NcclCommunicator::make_unique_id();
    std::string message;
    std::atomic<bool> ended{false};
    const auto run = [&](int rank) {
      check(cudaSetDevice(rank) == cudaSuccess, "cudaSetDevice");
      NcclCommunicator ranks(id, rank, 2, rank == 0 ? 3.0 : 30.0);
      const DeviceFloats data(repeated(100, 1));
      ranks.all_reduce_sum(data.data(), 100, nullptr, "warm-up");
      ranks.wait(nullptr);
      if (rank == 1) {
        while (!ended) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return;
      }
      try {
        ranks.all_reduce_sum(data.data(), 100, nullptr, "gradient");
        ranks.wait(nullptr);
      } catch (const DeviceError& error) {
        message = error.what();
      }
      ended = true;
      CHECK(cudaDeviceSynchronize() == cudaSuccess);
    };
    std::thread other([&] { run(1); });
    run(0);
    other.join();

    CHECK(message.find("learner rank 0 of 2: NCCL all_reduce_sum of gradient, sequence 2: ") == 0);
  }
}
