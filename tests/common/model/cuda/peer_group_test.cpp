#include "common/model/cuda/peer_group.h"

#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <doctest/doctest.h>

#include <mutex>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/model/cuda/device.h"

// Ranks take the GPUs in turn: on a machine with one they share it.

using namespace troupe;

namespace {

at::Tensor term(int rank, std::int64_t length) {
  return at::arange(length, at::kFloat).add_(1.7 * rank + 0.1).sin_().mul_(rank == 1 ? 1e4 : 1);
}

at::Tensor sum_of(int count, std::int64_t length) {
  at::Tensor sum = term(0, length);
  for (int rank = 1; rank < count; ++rank) sum = sum + term(rank, length);
  return sum;
}

/// Runs work(rank, group) by `count` ranks, each on a stream of its own.
void on_gpus(int count, const std::function<void(int rank, TensorGroup& group)>& work) {
  ThreadRanks ranks(count);
  PeerRanks peers(count);
  int gpus = 0;
  check_cuda(cudaGetDeviceCount(&gpus), "cudaGetDeviceCount");
  ranks.run([&](int rank) {
    check_cuda(cudaSetDevice(rank % gpus), "cudaSetDevice");
    const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
    const auto group = peers.group(ranks, rank);
    work(rank, *group);
    check_cuda(cudaStreamSynchronize(current_stream()), "a rank's work");
    ranks.meet();
  });
}

}  // namespace

TEST_SUITE("model/cuda/peer_group") {
  TEST_CASE("a sum is taken in rank order and is the same on each, at every length, again and again") {
    for (const int count : {1, 2, 4}) {
      for (const std::int64_t length : {std::int64_t{0}, std::int64_t{4}, std::int64_t{8192}, std::int64_t{5'000'000}}) {
        CAPTURE(length);
        const at::Tensor expected = sum_of(count, length);
        on_gpus(count, [&](int rank, TensorGroup& group) {
          for (int i = 0; i < 5; ++i) {
            const at::Tensor values = term(rank, length).to(at::kCUDA);
            group.sum_(values);
            CHECK(values.cpu().equal(expected));
          }
        });
      }
    }
  }

  // Two ranks, for which one GPU has room too; while a kernel may wait for the other rank's, the host asks nothing of the GPU but to
  // go on.
  TEST_CASE("so it is within a graph, run many times on other numbers") {
    constexpr std::int64_t kLength = 12'288, kRuns = 50, kSums = 3;  // an odd number, so that runs begin on either side
    const auto input = [](int rank, std::int64_t run) { return term(rank, kLength + run).slice(0, run); };
    std::mutex capturing;
    on_gpus(2, [&](int rank, TensorGroup& group) {
      at::Tensor inputs = at::empty({kRuns, kLength}, at::kFloat);
      for (std::int64_t run = 0; run < kRuns; ++run) inputs[run].copy_(input(rank, run));
      inputs = inputs.to(at::kCUDA);
      const at::Tensor values = at::zeros({kLength}, on_gpu(at::kFloat)), sums = at::zeros({kSums, kLength}, on_gpu(at::kFloat));
      const at::Tensor outputs = at::zeros({kRuns, kSums, kLength}, on_gpu(at::kFloat));
      at::cuda::CUDAGraph graph;
      check_cuda(cudaStreamSynchronize(current_stream()), "zeros");
      {
        const std::lock_guard lock(capturing);
        graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
        for (std::int64_t i = 0; i < kSums; ++i) {
          sums[i].copy_(values).mul_(i + 1);
          group.sum_(sums[i]);
        }
        graph.capture_end();
      }
      group.gather(at::empty({0}));
      for (std::int64_t run = 0; run < kRuns; ++run) {
        values.copy_(inputs[run]);
        graph.replay();
        outputs[run].copy_(sums);
      }
      check_cuda(cudaStreamSynchronize(current_stream()), "the runs");
      const at::Tensor found = outputs.cpu();
      for (std::int64_t run = 0; run < kRuns; ++run) {
        for (std::int64_t i = 0; i < kSums; ++i) CHECK(found[run][i].equal(input(0, run) * (i + 1) + input(1, run) * (i + 1)));
      }
    });
  }

  TEST_CASE("what is gathered lies in rank order") {
    on_gpus(2, [&](int rank, TensorGroup& group) {
      const at::Tensor all = group.gather(at::full({3}, rank, on_gpu(at::kLong)));
      CHECK(all.cpu().equal(at::arange(2, at::kLong).view({2, 1}).expand({2, 3})));
    });
  }

  TEST_CASE("more ranks than a sum takes are refused") {
    CHECK_THROWS_WITH_AS(PeerRanks(9), "9 GPUs for one model: expected at most 8", ConfigError);
  }
}
