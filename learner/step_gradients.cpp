#include "learner/step_gradients.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

namespace troupe {
namespace {

constexpr std::size_t kMostOnTheirWay = 2;

}  // namespace

StepGradients::StepGradients(const Transformer& model, ShardedOptimizer& optimizer, const LoraAdapters* lora, int zero_stage)
    : model_(model),
      optimizer_(optimizer),
      lora_(lora),
      stage_(zero_stage),
      map_(model.parameters().layout().units, optimizer.communicator().size()) {
  const at::TensorOptions options = model.parameters().flat().options().dtype(at::kFloat);
  if (!in_step()) flat_ = at::zeros({model.parameters().layout().total}, options);
  if (in_step() && lora != nullptr) flat_ = at::zeros({optimizer.total()}, options);
}

StepGradients::~StepGradients() {
  for (const Sent& sent : sent_) sent.done.wait();  // no longer than the patience with the peers
}

void StepGradients::clear() {
  if (flat_.defined()) flat_.zero_();
  if (in_step() && lora_ == nullptr) optimizer_.clear_sum();
}

at::Tensor& StepGradients::open(std::int64_t number) {
  at::Tensor& padded = open_[number];
  if (padded.defined()) return padded;
  wait(kMostOnTheirWay - 1);
  const std::int64_t count = map_.units()[static_cast<std::size_t>(number)].padded(map_.ranks());
  padded = at::zeros({count}, model_.parameters().flat().options().dtype(at::kFloat));
  return padded;
}

at::Tensor StepGradients::unit(std::int64_t number) {
  const ShardMap::Unit& unit = map_.units()[static_cast<std::size_t>(number)];
  if (!in_step()) return flat_.narrow(0, unit.begin, unit.end - unit.begin);
  return open(number).narrow(0, unit.begin - unit.origin, unit.end - unit.begin);
}

void StepGradients::finished(std::int64_t number) {
  if (!in_step()) return;
  const at::Tensor padded = open(number);
  open_.erase(number);
  if (lora_ != nullptr) {
    const ShardMap::Unit& unit = map_.units()[static_cast<std::size_t>(number)];
    lora_->add_projection_(flat_, padded.narrow(0, unit.begin - unit.origin, unit.end - unit.begin), unit.begin);
    return;
  }
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

void StepGradients::spoil() {
  wait(0);
  (flat_.defined() ? flat_ : optimizer_.gradient()).narrow(0, 0, 1).fill_(std::numeric_limits<float>::quiet_NaN());
}

OptimizerStep StepGradients::step(std::int64_t step, UpdateTrace* trace) {
  wait(0);
  if (in_step() && lora_ == nullptr) {
    return traced_step(optimizer_, [&] { return optimizer_.update(step); }, trace);
  }
  const at::Tensor gradients = lora_ != nullptr && !in_step() ? lora_->project(flat_) : flat_;
  const OptimizerStep result = traced_step(optimizer_, [&] { return optimizer_.step(gradients, step); }, trace);
  if (lora_ != nullptr) merge_(*lora_, model_.parameters(), optimizer_.communicator());
  return result;
}

int zero_stage_of(const Config& config, const Communicator& communicator) {
  return communicator.size() == 1 ? 1 : config.learners.zero_stage;
}

std::int64_t largest(std::int64_t own, Communicator& communicator) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(communicator.size()));
  const std::array<std::int64_t, 1> mine = {own};
  communicator.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)), "the largest of the ranks' numbers");
  return *std::max_element(all.begin(), all.end());
}

}  // namespace troupe
