#include "common/base/exact_sum.h"

#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "common/model/cuda/adamw.h"

using namespace troupe;

namespace {

double on_gpu_and_parts(const at::Tensor& values) {
  const at::Tensor there = values.to(at::kCUDA);
  const std::int64_t first = values.numel() / 3;
  cuda::ExactGpuSum sum;
  sum.add(there.narrow(0, 0, first));
  sum.add(there.narrow(0, first, values.numel() - first));
  return sum.sum().value();
}

double on_cpu(const at::Tensor& values) {
  ExactSum sum;
  sum.add(std::span(values.const_data_ptr<double>(), static_cast<std::size_t>(values.numel())));
  return sum.value();
}

}  // namespace

TEST_SUITE("model/cuda/exact_sum") {
  TEST_CASE("a GPU comes to the CPU's sum, of near and of far numbers") {
    const at::Tensor near = at::rand({480'001}, at::kDouble).add_(0.5);
    const at::Tensor far = at::exp2(at::randint(-1074, 1000, {100'000}, at::kDouble)) * near.narrow(0, 0, 100'000);
    for (const at::Tensor& values : {near, far, far.slice(0, 0, 7), at::zeros({3}, at::kDouble), at::zeros({0}, at::kDouble)}) {
      CHECK(on_gpu_and_parts(values.contiguous()) == on_cpu(values.contiguous()));
    }
    CHECK(on_gpu_and_parts(far) > 0);
  }

  TEST_CASE("what is not finite is told") {
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK(std::isinf(on_gpu_and_parts(at::tensor(std::vector<double>{1, infinity, 2}, at::kDouble))));
    CHECK(std::isnan(on_gpu_and_parts(at::tensor(std::vector<double>{1, infinity, std::nan("")}, at::kDouble))));
  }
}
