#include "common/model/cuda/adamw.h"

#include <cstdint>
#include <limits>
#include <span>

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/cuda/adamw_kernels.h"
#include "common/model/cuda/device.h"
#include "common/model/cuda/exact_sum_kernel.h"
#include "common/model/passes.h"

namespace troupe::cuda {
namespace {

constexpr std::int64_t kBlock = 1024;
static_assert(kExactLimbs == ExactSum::kLimbs);

float* floats(const at::Tensor& tensor, std::int64_t count) {
  check(tensor.is_cuda() && tensor.is_contiguous() && tensor.scalar_type() == at::kFloat && tensor.numel() == count,
        "the optimizer's vectors are fp32, on the GPU and equally long");
  return data_of<float>(tensor);
}

}  // namespace

void adamw_(const at::Tensor& master, const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq, const at::Tensor& gradient,
            const AdamWStep& step, const at::Tensor& decay_turns, const at::Tensor& rounded) {
  const std::int64_t count = master.numel();
  check(!rounded.defined() || (rounded.is_cuda() && rounded.is_contiguous() && rounded.scalar_type() == at::kBFloat16 &&
                               rounded.numel() == count),
        "rounded masters are bf16, on the GPU and as long");
  check(decay_turns.is_cuda() && decay_turns.is_contiguous() && decay_turns.scalar_type() == at::kLong, "turns are int64, on the GPU");
  const DecayTurns turns{data_of<std::int64_t>(decay_turns), static_cast<int>(decay_turns.numel())};
  adamw(floats(master, count), floats(exp_avg, count), floats(exp_avg_sq, count), floats(gradient, count), count, step, turns,
        rounded.defined() ? data_of<Bf16>(rounded) : nullptr, current_stream());
  check_cuda(cudaGetLastError(), "the optimizer's update");
}

at::Tensor block_squares(const at::Tensor& values) {
  const std::int64_t count = values.numel();
  const at::Tensor sums = at::empty({(count + kBlock - 1) / kBlock}, on_gpu(at::kDouble));
  block_squares(floats(values, count), count, data_of<double>(sums), current_stream());
  check_cuda(cudaGetLastError(), "the gradient's norm");
  return sums;
}

ExactGpuSum::ExactGpuSum() : limbs_(at::zeros({static_cast<std::int64_t>(ExactSum::kLimbs) + 1}, on_gpu(at::kLong))) {}

void ExactGpuSum::add(const at::Tensor& values) {
  check(values.is_cuda() && values.is_contiguous() && values.scalar_type() == at::kDouble, "what is summed is double, on the GPU");
  add_exactly(values.const_data_ptr<double>(), values.numel(), reinterpret_cast<std::uint64_t*>(data_of<std::int64_t>(limbs_)), current_stream());
  check_cuda(cudaGetLastError(), "an exact sum");
}

ExactSum ExactGpuSum::sum() const {
  const at::Tensor on_cpu = limbs_.cpu();
  const std::span limbs(reinterpret_cast<const std::uint64_t*>(on_cpu.const_data_ptr<std::int64_t>()), ExactSum::kLimbs + 1);
  const std::uint64_t special = limbs.back();
  const double value = (special & 2) != 0 ? std::numeric_limits<double>::quiet_NaN() : special != 0 ? std::numeric_limits<double>::infinity() : 0;
  return {limbs.first<ExactSum::kLimbs>(), value};
}

}  // namespace troupe::cuda
