#include "learner/sharded_optimizer.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>
#include <span>
#include <utility>

#include "common/base/error.h"
#include "common/base/exact_sum.h"
#include "common/model/adamw_step.h"
#include "common/model/cuda/adamw.h"
#include "common/model/kernels/kernels.h"
#include "common/model/tensor_cut.h"
#include "learner/gathered_units.h"
#include "learner/schedule.h"

namespace troupe {
namespace {

// Parts are whole blocks, and the norm adds sums of blocks without a rounding: so it does not depend on the number of ranks.
constexpr std::int64_t kBlock = ShardMap::kBlock;
constexpr std::int64_t kGrain = 64 * kBlock;  // elements below which a second thread does not pay

std::span<float> floats(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

double square_of(float value) { return static_cast<double>(value) * static_cast<double>(value); }

void check_flat(const at::Tensor& tensor, std::int64_t numel, const char* name) {
  check(tensor.scalar_type() == at::kFloat && tensor.dim() == 1 && tensor.numel() == numel && tensor.is_contiguous(),
        std::string(name) + " must be contiguous fp32 [" + std::to_string(numel) + "]");
}

/// Of parts of one vector of doubles, where it lies.
ExactSum exact_sum(const std::vector<at::Tensor>& parts) {
  if (!parts.empty() && parts[0].is_cuda()) {
    cuda::ExactGpuSum sum;
    for (const at::Tensor& part : parts) sum.add(part);
    return sum.sum();
  }
  ExactSum sum;
  std::mutex mutex;
  for (const at::Tensor& values : parts) {
    at::parallel_for(0, values.numel(), kGrain, [&](std::int64_t from, std::int64_t to) {
      ExactSum part;
      part.add(std::span(values.const_data_ptr<double>() + from, static_cast<std::size_t>(to - from)));
      const std::lock_guard lock(mutex);
      sum.add(part);
    });
  }
  return sum;
}

}  // namespace

ShardedOptimizer::ShardedOptimizer(Parameters parameters, const at::Tensor& initial, const OptimizerConfig& config,
                                   std::int64_t total_steps, const ShardRanks& ranks, bool offload)
    : parameters_(std::move(parameters)),
      config_(config),
      total_steps_(total_steps),
      ranks_(ranks),
      communicator_(ranks.all()),
      map_(communicator_.size() == 1 ? ShardMap({0, total()}, 1) : shard_map_of(parameters_, communicator_.size())),
      devices_(ranks) {
  check_flat(initial, total(), "the initial parameters");
  check(initial.is_cpu(), "the initial parameters lie on the CPU");
  for (const ShardMap::Piece& piece : map_.own_pieces(communicator_.rank())) {
    for (const ParameterSpec& spec : parameters_.layout().tensors) {
      const std::int64_t begin = std::max(spec.offset, piece.begin), end = std::min(spec.offset + spec.numel, piece.end);
      if (begin >= end) continue;
      segments_.push_back({piece.place + begin - piece.begin, piece.place + end - piece.begin, spec.shape.size() >= 2});
      const bool in_block = spec.offset >= map_.units().front().end && spec.offset < map_.units().back().begin;
      if (parameters_.cut() != nullptr && in_block && spec.shape == layout().find(spec.name).shape) repeated_.push_back(segments_.back());
    }
  }
  master_ = map_.slice_of(initial, communicator_.rank()).to(offload ? at::Device(at::kCPU) : parameters_.flat().device());
  exp_avg_ = at::zeros_like(master_);
  exp_avg_sq_ = at::zeros_like(master_);
  if (master_.is_cuda()) decay_turns_ = at::tensor(decay_turns()).to(master_.device());
  if (!alone()) reduced_ = at::zeros_like(master_);
  set_from_whole_(parameters_, initial, communicator_);
}

std::vector<std::int64_t> ShardedOptimizer::decay_turns() const {
  std::vector<std::int64_t> turns;
  for (const Segment& segment : segments_) {
    if (segment.decay == (turns.size() % 2 == 1)) turns.push_back(segment.begin);
  }
  return turns;
}

OptimizerStep ShardedOptimizer::step(const at::Tensor& gradients, std::int64_t step) {
  check_flat(gradients, map_.bounds().back(), "the gradients");
  sum_over_ranks(gradients);
  return update(step);
}

OptimizerStep ShardedOptimizer::update(std::int64_t step) {
  settle();
  OptimizerStep result;
  result.lr = learning_rate(config_, step, total_steps_);
  const at::Tensor repeated = sum_repeated();
  result.grad_norm = global_norm();
  set_repeated(repeated);
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

DeviceRanks* ShardedOptimizer::devices_of(const ShardMap::Unit& unit) { return parameters_.flat().is_cuda() ? devices_.of(unit) : nullptr; }

at::Tensor ShardedOptimizer::sum_repeated() {
  if (repeated_.empty()) return {};
  TensorGroup& group = parameters_.cut()->group();
  std::vector<at::Tensor> own;
  for (const Segment& segment : repeated_) own.push_back(reduced_.narrow(0, segment.begin, segment.end - segment.begin));
  const at::Tensor all = group.gather(at::cat(own));
  at::Tensor sum = all[0].clone();
  for (int rank = 1; rank < group.size(); ++rank) sum.add_(all[rank]);
  set_repeated(group.rank() == 0 ? sum : at::zeros_like(sum));
  return sum;
}

void ShardedOptimizer::set_repeated(const at::Tensor& values) {
  std::int64_t place = 0;
  for (const Segment& segment : repeated_) {
    const std::int64_t count = segment.end - segment.begin;
    reduced_.narrow(0, segment.begin, count).copy_(values.narrow(0, std::exchange(place, place + count), count));
  }
}

void ShardedOptimizer::sum_over_ranks(const at::Tensor& gradients) {
  if (alone()) {
    reduced_ = gradients;
    return;
  }
  if (communicator_.size() == 1) {  // offloaded
    reduced_.narrow(0, 0, total()).copy_(gradients);
    return;
  }
  for (const ShardMap::Unit& unit : map_.units()) {
    const std::int64_t before = unit.begin - unit.origin, count = unit.end - unit.begin, all = unit.padded();
    const at::Tensor padded = at::empty({all}, gradients.options());
    padded.narrow(0, 0, before).zero_();
    padded.narrow(0, before, count).copy_(gradients.narrow(0, unit.begin, count));
    padded.narrow(0, before + count, all - before - count).zero_();
    reduce_scatter(unit, padded, reduced_.narrow(0, unit.place, unit.part));
  }
}

void ShardedOptimizer::clear_sum() {
  if (reduced_.defined()) reduced_.zero_();
}

void ShardedOptimizer::add_to_sum(std::size_t number, const at::Tensor& padded) {
  const ShardMap::Unit& unit = map_.units()[number];
  check_flat(padded, unit.padded(), "a unit's gradients");
  const at::Tensor part = at::empty({unit.part}, reduced_.options());
  reduce_scatter(unit, padded, part);
  reduced_.narrow(0, unit.place, unit.part).add_(part);
}

void ShardedOptimizer::reduce_scatter(const ShardMap::Unit& unit, const at::Tensor& padded, const at::Tensor& part) {
  if (unit.ranks == 1) {
    part.copy_(padded);
    return;
  }
  if (DeviceRanks* const ranks = devices_of(unit)) {
    const at::Tensor sum = ranks->reduce_scatter_sum(padded, "gradients");
    if (part.is_cpu()) settle();
    part.copy_(sum);
    return;
  }
  const at::Tensor all = padded.cpu(), own = part.is_cpu() ? part : at::empty({part.numel()}, at::kFloat);
  ranks_.of(unit).reduce_scatter_sum(floats(all), floats(own), "gradients");
  if (!part.is_cpu()) part.copy_(own);
}

at::Tensor ShardedOptimizer::squares_of_blocks() const {
  if (reduced_.is_cuda()) return cuda::block_squares(reduced_);
  at::Tensor squares = at::zeros({map_.slice() / kBlock}, at::kDouble);
  const std::span sums(squares.mutable_data_ptr<double>(), static_cast<std::size_t>(squares.numel()));
  const std::span<const float> reduced = floats(reduced_);
  const std::int64_t whole = std::ssize(reduced) / kBlock;
  at::parallel_for(0, whole, kGrain / kBlock, [&](std::int64_t begin, std::int64_t end) {
    kernels<float>().block_squares(reduced.data() + begin * kBlock, end - begin, kBlock, sums.data() + begin);
  });
  if (whole < std::ssize(sums)) kernels<float>().block_squares(reduced.data() + whole * kBlock, 1, std::ssize(reduced) % kBlock, &sums.back());
  return squares;
}

double ShardedOptimizer::global_norm() {
  const int rank = communicator_.rank();
  const at::Tensor squares = squares_of_blocks();
  const std::vector<std::int64_t>& meeting = map_.meeting_blocks();
  const auto meets = [&](std::int64_t block) { return std::binary_search(meeting.begin(), meeting.end(), block); };
  std::vector<at::Tensor> own;
  for (const ShardMap::Unit& unit : map_.units()) {
    const std::int64_t origin = (unit.origin + map_.number_of(unit, rank) * unit.part) / kBlock;
    std::int64_t first = origin, end = std::min(first + unit.part / kBlock, (unit.end + kBlock - 1) / kBlock);
    while (first < end && meets(first)) ++first;
    while (first < end && meets(end - 1)) --end;
    if (first < end) own.push_back(squares.narrow(0, unit.place / kBlock + first - origin, end - first));
  }
  ExactSum sum = exact_sum(own);
  std::vector<ExactSum> sums(static_cast<std::size_t>(map_.ranks()));
  communicator_.all_gather(std::as_bytes(std::span(&sum, 1)), std::as_writable_bytes(std::span(sums)), "gradient norm");
  sum = {};
  for (const ExactSum& ranks : sums) sum.add(ranks);
  // Of blocks in which units meet, ranks have parts: the elements themselves are put together.
  std::vector<float> elements(meeting.size() * kBlock, 0.0F);
  std::vector<at::Tensor> parts;
  std::vector<std::int64_t> places;
  for (std::size_t i = 0; i < meeting.size(); ++i) {
    for (const ShardMap::Piece& piece : map_.pieces(rank)) {
      const std::int64_t begin = std::max(piece.begin, meeting[i] * kBlock), end = std::min(piece.end, (meeting[i] + 1) * kBlock);
      if (begin >= end) continue;
      parts.push_back(reduced_.narrow(0, piece.place + begin - piece.begin, end - begin));
      places.push_back(static_cast<std::int64_t>(i) * kBlock + begin % kBlock);
    }
  }
  const at::Tensor together = parts.empty() ? at::Tensor() : at::cat(parts).cpu();
  std::int64_t done = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    std::copy_n(together.const_data_ptr<float>() + done, parts[i].numel(), elements.begin() + places[i]);
    done += parts[i].numel();
  }
  communicator_.all_reduce_sum(std::span(elements), "gradient where units meet");
  for (std::size_t i = 0; i < meeting.size(); ++i) {
    double block = 0;
    for (const float g : std::span(elements).subspan(i * kBlock, kBlock)) block += square_of(g);
    sum.add(block);
  }
  return std::sqrt(sum.value());
}

std::string ShardedOptimizer::first_bad_tensor() {
  const at::Tensor on_cpu = reduced_.cpu();
  const std::span<const float> reduced = floats(on_cpu);
  const auto bad = std::find_if(reduced.begin(), reduced.end(), [](float g) { return !std::isfinite(g); });
  std::vector<std::int64_t> firsts(static_cast<std::size_t>(communicator_.size()));
  const auto own = std::span(firsts).subspan(static_cast<std::size_t>(communicator_.rank()), 1);
  own[0] = bad == reduced.end() ? std::numeric_limits<std::int64_t>::max()
                                : map_.element(communicator_.rank(), bad - reduced.begin());
  communicator_.all_gather(std::as_bytes(own), std::as_writable_bytes(std::span(firsts)), "first bad gradient");
  const std::int64_t first = *std::min_element(firsts.begin(), firsts.end());
  for (const ParameterSpec& spec : layout().tensors) {
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
  const auto decay = static_cast<float>(1.0 - lr * config_.weight_decay);
  if (master_.is_cuda()) {
    constants.decay = decay;
    const auto part = [&](const at::Tensor& slice) { return slice.narrow(0, 0, reduced_.numel()); };
    cuda::adamw_(part(master_), part(exp_avg_), part(exp_avg_sq_), reduced_, constants, decay_turns_, rounds() ? parameters_.flat() : at::Tensor());
    return;
  }
  for (const Segment& segment : segments_) {
    constants.decay = segment.decay ? decay : 1.0F;
    const auto part = [&](const at::Tensor& slice) { return slice.narrow(0, segment.begin, segment.end - segment.begin); };
    float *const p = floats(part(master_)).data(), *const m = floats(part(exp_avg_)).data(), *const v = floats(part(exp_avg_sq_)).data();
    const float* const g = floats(part(reduced_)).data();
    Bf16* const rounded = rounds() ? static_cast<Bf16*>(part(parameters_.flat()).mutable_data_ptr()) : nullptr;
    at::parallel_for(0, segment.end - segment.begin, kGrain, [&](std::int64_t begin, std::int64_t end) {
      kernels<float>().adamw(p + begin, m + begin, v + begin, g + begin, end - begin, constants, rounded == nullptr ? nullptr : rounded + begin);
    });
  }
  // Written past ATen: the model must not go on with what it made of the parameters before.
  if (rounds() && !parameters_.flat().is_inference()) parameters_.flat().unsafeGetTensorImpl()->bump_version();
}

at::Tensor ShardedOptimizer::gather_parts(const at::Tensor& part, Communicator& ranks, std::string_view name) {
  const at::Tensor own = part.cpu();  // the tensor itself where it lies there
  const std::int64_t count = own.numel() * ranks.size();
  if (!scratch_.defined()) {
    std::int64_t largest = 0;
    for (const ShardMap::Unit& unit : map_.units()) largest = std::max(largest, unit.part * map_.ranks());
    scratch_ = at::empty({largest}, at::kFloat);
  }
  const at::Tensor all = scratch_.view(own.scalar_type()).narrow(0, 0, count);
  ranks.all_gather(bytes_of(own), {static_cast<std::byte*>(all.mutable_data_ptr()), all.nbytes()}, name);
  return all;
}

at::Tensor ShardedOptimizer::gather_unit(const ShardMap::Unit& unit, const at::Tensor& part) {
  if (unit.ranks == 1) return part;
  if (DeviceRanks* const devices = devices_of(unit)) return devices->all_gather(part.to(parameters_.flat().device()), "parameters");
  return gather_parts(part, ranks_.of(unit), "parameters");
}

void ShardedOptimizer::publish_parameters() {
  if (parameters_.sharded()) {
    parameters_.flat().copy_(master_);
    return;
  }
  if (communicator_.size() == 1) {
    parameters_.flat().copy_(master_.narrow(0, 0, total()));
    return;
  }
  const at::Tensor rounded = master_.to(parameters_.flat().scalar_type());
  for (const ShardMap::Unit& unit : map_.units()) {
    const std::int64_t count = unit.end - unit.begin;
    const at::Tensor all = gather_unit(unit, rounded.narrow(0, unit.place, unit.part));
    parameters_.flat().narrow(0, unit.begin, count).copy_(all.narrow(0, unit.begin - unit.origin, count));
  }
  settle();
}

void ShardedOptimizer::restore(const at::Tensor& master, const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq,
                               std::int64_t updates) {
  check_flat(master, slice(), "the master parameters");
  check_flat(exp_avg, slice(), "the first moment");
  check_flat(exp_avg_sq, slice(), "the second moment");
  master_.copy_(master);
  exp_avg_.copy_(exp_avg);
  exp_avg_sq_.copy_(exp_avg_sq);
  updates_ = updates;
  publish_parameters();
}

at::Tensor ShardedOptimizer::gather(const at::Tensor& part, std::string_view name) {
  if (alone() && part.numel() == total()) return part.is_cpu() ? part.clone() : part.cpu();
  check_flat(part, slice(), "a slice");
  at::Tensor whole;
  if (communicator_.rank() == 0) whole = at::empty({total()}, at::kFloat);
  for (std::size_t number = 0; number < map_.units().size(); ++number) {
    const ShardMap::Unit& unit = map_.units()[number];
    const at::Tensor all = gather_parts(part.narrow(0, unit.place, unit.part), communicator_, name);
    if (whole.defined()) put_unit_(number, all, whole);
  }
  return whole;
}

void ShardedOptimizer::put_unit_(std::size_t number, const at::Tensor& parts, const at::Tensor& whole) const {
  const ShardMap::Unit& unit = map_.units()[number];
  const auto own_of = [&](const at::Tensor& padded) { return padded.narrow(0, unit.begin - unit.origin, unit.end - unit.begin); };
  const TensorCut* const cut = parameters_.cut();
  if (cut == nullptr) {
    whole.narrow(0, unit.begin, unit.end - unit.begin).copy_(own_of(parts));
    return;
  }
  const std::vector<std::int64_t>& bounds = layout().units;
  const int vectors = map_.ranks() / unit.ranks;  // that differ: those of the ranks that hold a model together, or one
  const at::Tensor padded = parts.view({unit.ranks, vectors, unit.part}).transpose(0, 1).reshape({vectors, unit.padded()});
  for (int rank = 0; rank < vectors; ++rank) {
    cut->put_(static_cast<std::int64_t>(number), own_of(padded[rank]), rank, whole.narrow(0, bounds[number], bounds[number + 1] - bounds[number]));
  }
}

}  // namespace troupe
