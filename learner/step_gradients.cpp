#include "learner/step_gradients.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "common/model/tensor_cut.h"

namespace troupe {
namespace {

constexpr std::size_t kMostOnTheirWay = 2;

}  // namespace

StepGradients::StepGradients(const Transformer& model, ShardedOptimizer& optimizer, const LoraAdapters* lora, int zero_stage)
    : model_(model),
      optimizer_(optimizer),
      lora_(lora),
      stage_(zero_stage),
      map_(shard_map_of(model.parameters(), optimizer.communicator().size())) {
  const at::TensorOptions options = model.parameters().flat().options().dtype(at::kFloat);
  if (!in_step()) flat_ = at::zeros({model.parameters().layout().total}, options);
  if (by_units() && lora != nullptr) projected_ = at::zeros({optimizer.total()}, options);
}

StepGradients::~StepGradients() {
  for (const Sent& sent : sent_) sent.done.wait();  // no longer than the patience with the peers
}

void StepGradients::clear() {
  if (flat_.defined()) flat_.zero_();
  if (projected_.defined()) projected_.zero_();
  if (by_units() && lora_ == nullptr) optimizer_.clear_sum();
}

at::Tensor StepGradients::own_unit(const at::Tensor& flat, std::int64_t number) const {
  const std::vector<std::int64_t>& units = model_.parameters().layout().units;
  const std::int64_t begin = units[static_cast<std::size_t>(number)];
  return flat.narrow(0, begin, units[static_cast<std::size_t>(number) + 1] - begin);
}

at::Tensor& StepGradients::open(std::int64_t number) {
  at::Tensor& opened = open_[number];
  if (opened.defined()) return opened;
  wait(kMostOnTheirWay - 1);
  opened = at::zeros({map_.units()[static_cast<std::size_t>(number)].padded()}, model_.parameters().flat().options().dtype(at::kFloat));
  return opened;
}

at::Tensor StepGradients::unpadded(std::int64_t number, const at::Tensor& padded) const {
  const ShardMap::Unit& unit = map_.units()[static_cast<std::size_t>(number)];
  return padded.narrow(0, unit.begin - unit.origin, unit.end - unit.begin);
}

at::Tensor StepGradients::unit(std::int64_t number) {
  return in_step() ? unpadded(number, open(number)) : own_unit(flat_, number);
}

void StepGradients::finished(std::int64_t number) {
  if (!in_step()) return;
  const at::Tensor opened = open(number);
  open_.erase(number);
  if (lora_ != nullptr) {
    project(number, unpadded(number, opened));
  } else {
    pass_on(number, opened);
  }
  if (number == 0) optimizer_.settle();  // the last of a pass
}

void StepGradients::project(std::int64_t number, const at::Tensor& own) {
  const std::vector<std::int64_t>& units = model_.parameters().whole_layout().units;
  const auto place = static_cast<std::size_t>(number);
  at::Tensor whole = own;
  if (const TensorCut* const cut = model_.parameters().cut()) {
    whole = at::zeros({units[place + 1] - units[place]}, own.options());
    cut->put_(number, own, cut->group().rank(), whole);
  }
  lora_->add_projection_(projected_, whole, units[place]);
}

void StepGradients::pass_on(std::int64_t number, const at::Tensor& padded) {
  wait(kMostOnTheirWay - 1);
  sent_.push_back({padded, optimizer_.communicator().start([this, number, padded] {
                     optimizer_.add_to_sum(static_cast<std::size_t>(number), padded);
                   })});
}

void StepGradients::wait(std::size_t left) {
  while (sent_.size() > left) {
    const Sent first = sent_.front();
    sent_.pop_front();
    first.done.get();
  }
}

std::size_t StepGradients::rounds(std::size_t own) const {
  if (!in_step()) return own;
  Communicator& ranks = optimizer_.communicator();
  std::vector<std::uint64_t> all(static_cast<std::size_t>(ranks.size()));
  const std::array<std::uint64_t, 1> mine = {own};
  ranks.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)), "the most of the ranks' micro-batches");
  return *std::max_element(all.begin(), all.end());
}

void StepGradients::spoil() {
  wait(0);
  (flat_.defined() ? flat_ : projected_.defined() ? projected_ : optimizer_.gradient()).narrow(0, 0, 1).fill_(std::numeric_limits<float>::quiet_NaN());
}

OptimizerStep StepGradients::step(std::int64_t step, UpdateTrace* trace) {
  if (by_units() && !in_step()) {
    for (std::int64_t number = 0; number < std::ssize(map_.units()); ++number) project(number, own_unit(flat_, number));
  }
  wait(0);
  if (by_units() && lora_ == nullptr) {
    return traced_step(optimizer_, [&] { return optimizer_.update(step); }, trace);
  }
  const at::Tensor gradients = lora_ == nullptr ? flat_ : by_units() ? projected_ : lora_->project(flat_);
  const OptimizerStep result = traced_step(optimizer_, [&] { return optimizer_.step(gradients, step); }, trace);
  if (lora_ != nullptr) merge_(*lora_, model_.parameters(), optimizer_.communicator());
  return result;
}

int zero_stage_of(const Config& config, const Communicator& communicator) {
  return communicator.size() == 1 ? 1 : config.learners.zero_stage;
}

}  // namespace troupe
