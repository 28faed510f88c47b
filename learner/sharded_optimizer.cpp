#include "learner/sharded_optimizer.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "common/base/error.h"
#include "common/model/adamw_step.h"
#include "common/model/cuda/adamw.h"
#include "learner/schedule.h"

namespace troupe {
namespace {

// Slices are whole blocks, and the norm adds sums of blocks in block order: so it does not depend on the number of
// ranks.
constexpr std::int64_t kBlock = 1024;
constexpr std::int64_t kGrain = 64 * kBlock;  // elements below which a second thread does not pay

std::span<float> floats(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

void check_flat(const at::Tensor& tensor, std::int64_t numel, const char* name) {
  check(tensor.scalar_type() == at::kFloat && tensor.dim() == 1 && tensor.numel() == numel && tensor.is_contiguous(),
        std::string(name) + " must be contiguous fp32 [" + std::to_string(numel) + "]");
}

/// The order of operations of torch's _single_tensor_adamw.
void adamw_(float* p, float* m, float* v, const float* g, std::int64_t n, const AdamWStep& c) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float grad = g[i] * c.clip;
    m[i] += c.beta1_rest * (grad - m[i]);
    v[i] = v[i] * c.beta2 + c.beta2_rest * grad * grad;
    p[i] = p[i] * c.decay - c.step_size * m[i] / (std::sqrt(v[i]) / c.root2 + c.eps);
  }
}

}  // namespace

ShardedOptimizer::ShardedOptimizer(Parameters parameters, const at::Tensor& initial, const OptimizerConfig& config,
                                   std::int64_t total_steps, Communicator& communicator)
    : parameters_(std::move(parameters)), config_(config), total_steps_(total_steps), communicator_(communicator) {
  check_flat(initial, total(), "the initial parameters");
  check(initial.is_cpu(), "the initial parameters lie on the CPU");
  const std::int64_t ranks = communicator_.size();
  slice_ = (total() + ranks * kBlock - 1) / (ranks * kBlock) * kBlock;
  const std::int64_t first = slice_ * communicator_.rank();
  for (const ParameterSpec& spec : parameters_.layout().tensors) {
    const std::int64_t begin = std::max(spec.offset, first);
    const std::int64_t end = std::min(spec.offset + spec.numel, first + slice_);
    if (begin < end) segments_.push_back({begin - first, end - first, spec.shape.size() >= 2});
  }
  padded_ = at::zeros({slice_ * ranks}, at::kFloat);
  padded_.narrow(0, 0, total()).copy_(initial);
  master_ = padded_.narrow(0, first, slice_).to(parameters_.flat().device(), at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  exp_avg_ = at::zeros_like(master_);
  exp_avg_sq_ = at::zeros_like(master_);
  if (!alone_on_gpu()) reduced_ = at::zeros_like(master_);
  parameters_.flat().copy_(initial);
}

OptimizerStep ShardedOptimizer::step(const at::Tensor& gradients, std::int64_t step) {
  check_flat(gradients, total(), "the gradients");
  sum_over_ranks(gradients);

  OptimizerStep result;
  result.lr = learning_rate(config_, step, total_steps_);
  result.grad_norm = global_norm();
  if (!std::isfinite(result.grad_norm)) {
    result.skipped = true;
    result.bad_tensor = first_bad_tensor();
    return result;
  }
  result.clipped = config_.clip_norm > 0 && result.grad_norm > config_.clip_norm;
  const double clip = config_.clip_norm > 0 ? std::min(1.0, config_.clip_norm / (result.grad_norm + 1e-6)) : 1.0;
  ++updates_;
  update_slice(result.lr, static_cast<float>(clip));
  if (!rounds()) publish_parameters();
  return result;
}

DeviceRanks* ShardedOptimizer::device_ranks() {
  if (!device_ranks_) device_ranks_ = master_.is_cuda() ? nccl_ranks(communicator_) : nullptr;
  return device_ranks_->get();
}

void ShardedOptimizer::sum_over_ranks(const at::Tensor& gradients) {
  if (alone_on_gpu()) {
    reduced_ = gradients;
    return;
  }
  if (DeviceRanks* const ranks = device_ranks()) {
    const at::Tensor whole = at::zeros({padded_.numel()}, gradients.options());
    whole.narrow(0, 0, total()).copy_(gradients);
    reduced_ = ranks->reduce_scatter_sum(whole, "gradients");
    return;
  }
  padded_.narrow(0, 0, total()).copy_(gradients);
  padded_.narrow(0, total(), padded_.numel() - total()).zero_();
  const at::Tensor own = reduced_.cpu();  // the tensor itself where it lies there
  communicator_.reduce_scatter_sum(floats(padded_), floats(own), "gradients");
  reduced_.copy_(own);
}

void ShardedOptimizer::add_block_squares(std::span<double> sums) const {
  if (reduced_.is_cuda()) {
    const at::Tensor squares = cuda::block_squares(reduced_);
    check(squares.numel() == std::ssize(sums), "there is a sum a block");
    std::copy_n(squares.const_data_ptr<double>(), sums.size(), sums.begin());
    return;
  }
  const std::span<const float> reduced = floats(reduced_);
  for (std::size_t b = 0; b < sums.size(); ++b) {
    for (const float g : reduced.subspan(b * kBlock, kBlock)) sums[b] += static_cast<double>(g) * static_cast<double>(g);
  }
}

double ShardedOptimizer::global_norm() {
  const auto blocks = static_cast<std::size_t>(slice_ / kBlock);
  const auto first = blocks * static_cast<std::size_t>(communicator_.rank());
  std::vector<double> sums(blocks * static_cast<std::size_t>(communicator_.size()));
  const std::span<double> own = std::span(sums).subspan(first, blocks);
  add_block_squares(own);
  communicator_.all_gather(std::as_bytes(own), std::as_writable_bytes(std::span(sums)), "gradient norm");
  double sum = 0;
  for (const double block : sums) sum += block;
  return std::sqrt(sum);
}

std::string ShardedOptimizer::first_bad_tensor() {
  const at::Tensor on_cpu = reduced_.cpu();
  const std::span<const float> reduced = floats(on_cpu);
  const auto bad = std::find_if(reduced.begin(), reduced.end(), [](float g) { return !std::isfinite(g); });
  std::vector<std::int64_t> firsts(static_cast<std::size_t>(communicator_.size()));
  const auto own = std::span(firsts).subspan(static_cast<std::size_t>(communicator_.rank()), 1);
  own[0] = bad == reduced.end() ? std::numeric_limits<std::int64_t>::max()
                                : slice_ * communicator_.rank() + (bad - reduced.begin());
  communicator_.all_gather(std::as_bytes(own), std::as_writable_bytes(std::span(firsts)), "first bad gradient");
  const std::int64_t first = *std::min_element(firsts.begin(), firsts.end());
  for (const ParameterSpec& spec : parameters_.layout().tensors) {
    if (first < spec.offset + spec.numel) return spec.name;
  }
  return "?";  // in the padding, where the model has no gradient
}

void ShardedOptimizer::update_slice(double lr, float clip) {
  const double correction1 = 1.0 - std::pow(config_.beta1, static_cast<double>(updates_));
  const double correction2 = 1.0 - std::pow(config_.beta2, static_cast<double>(updates_));
  AdamWStep constants{1.0F,
                      clip,
                      static_cast<float>(1.0 - config_.beta1),
                      static_cast<float>(config_.beta2),
                      static_cast<float>(1.0 - config_.beta2),
                      static_cast<float>(lr / correction1),
                      static_cast<float>(std::sqrt(correction2)),
                      static_cast<float>(config_.eps)};
  for (const Segment& segment : segments_) {
    constants.decay = segment.decay ? static_cast<float>(1.0 - lr * config_.weight_decay) : 1.0F;
    const auto part = [&](const at::Tensor& slice) { return slice.narrow(0, segment.begin, segment.end - segment.begin); };
    if (master_.is_cuda()) {
      const at::Tensor rounded = rounds() ? part(parameters_.flat()) : at::Tensor();
      cuda::adamw_(part(master_), part(exp_avg_), part(exp_avg_sq_), part(reduced_), constants, rounded);
      continue;
    }
    float *const p = floats(part(master_)).data(), *const m = floats(part(exp_avg_)).data(), *const v = floats(part(exp_avg_sq_)).data();
    const float* const g = floats(part(reduced_)).data();
    at::parallel_for(0, segment.end - segment.begin, kGrain, [&](std::int64_t begin, std::int64_t end) {
      adamw_(p + begin, m + begin, v + begin, g + begin, end - begin, constants);
    });
  }
}

void ShardedOptimizer::publish_parameters() {
  if (alone_on_gpu()) {
    parameters_.flat().copy_(master_.narrow(0, 0, total()));
    return;
  }
  if (DeviceRanks* const ranks = device_ranks()) {
    parameters_.flat().copy_(ranks->all_gather(master_.to(parameters_.flat().scalar_type()), "parameters").narrow(0, 0, total()));
    return;
  }
  const at::Tensor own = master_.to(parameters_.flat().scalar_type()).cpu();  // the tensor itself where that is fp32 on the CPU
  const at::Tensor all = padded_.view(own.scalar_type()).narrow(0, 0, slice_ * communicator_.size());
  communicator_.all_gather(bytes_of(own), {static_cast<std::byte*>(all.mutable_data_ptr()), all.nbytes()},
                           "parameters");
  parameters_.flat().copy_(all.narrow(0, 0, total()));
}

void ShardedOptimizer::restore(const at::Tensor& master, const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq,
                               std::int64_t updates) {
  check_flat(master, slice_, "the master parameters");
  check_flat(exp_avg, slice_, "the first moment");
  check_flat(exp_avg_sq, slice_, "the second moment");
  master_.copy_(master);
  exp_avg_.copy_(exp_avg);
  exp_avg_sq_.copy_(exp_avg_sq);
  updates_ = updates;
  publish_parameters();
}

at::Tensor ShardedOptimizer::gather(const at::Tensor& slice, std::string_view name) {
  check_flat(slice, alone_on_gpu() && slice.numel() == total() ? total() : slice_, "a slice");
  const at::Tensor own = padded_.narrow(0, slice_ * communicator_.rank(), slice_);
  own.narrow(0, 0, slice.numel()).copy_(slice);
  communicator_.all_gather(bytes_of(own), std::as_writable_bytes(floats(padded_)), name);
  return padded_.narrow(0, 0, total());
}

at::Tensor ShardedOptimizer::gather_copy(const at::Tensor& slice, std::string_view name) {
  const at::Tensor whole = gather(slice, name);
  return communicator_.rank() == 0 ? whole.clone() : at::Tensor();
}

}  // namespace troupe
