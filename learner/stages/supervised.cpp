#include "learner/stages/supervised.h"

#include <ATen/ATen.h>

#include <array>
#include <utility>

namespace troupe {
namespace {

std::size_t length_of(const SftExample& example) { return example.prompt.size() + example.completion.size(); }

std::size_t length_of(const SupervisedUnit& unit) {
  std::size_t tokens = 0;
  for (const SftExample& example : unit) tokens += length_of(example);
  return tokens;
}

/// Tokens that the model reads of a unit whose neighbours share their prompts.
std::size_t shared_length_of(const SupervisedUnit& unit) {
  std::size_t tokens = length_of(unit);
  for (std::size_t i = 1; i < unit.size(); ++i) tokens -= unit[i].prompt == unit[i - 1].prompt ? unit[i].prompt.size() : 0;
  return tokens;
}

/// Neighbouring units up to `budget` tokens together, each sequence's ids in `ids`.
std::vector<SupervisedMicroBatch> micro_batches_of(const std::vector<SupervisedUnit>& units, std::size_t budget, bool share_prompts,
                                                   std::vector<std::vector<std::int32_t>>& ids) {
  std::size_t sequences = 0;
  for (const SupervisedUnit& unit : units) sequences += unit.size();
  ids.reserve(sequences);  // spans into it stay valid
  std::vector<SupervisedMicroBatch> batches;
  std::size_t used = 0;
  for (const SupervisedUnit& unit : units) {
    const std::size_t length = share_prompts ? shared_length_of(unit) : length_of(unit);
    if (batches.empty() || used + length > budget) {
      batches.emplace_back();
      used = 0;
    }
    used += length;
    for (const auto& [prompt, completion, trained] : unit) {
      std::vector<std::int32_t>& all = ids.emplace_back(prompt);
      all.insert(all.end(), completion.begin(), completion.end());
      SupervisedMicroBatch& batch = batches.back();
      batch.sequences.push_back({all, static_cast<std::int64_t>(prompt.size())});
      if (trained.empty()) batch.weights.insert(batch.weights.end(), completion.size(), 1.0F);
      batch.weights.insert(batch.weights.end(), trained.begin(), trained.end());
    }
  }
  return batches;
}

double trained_tokens(const SupervisedUnit& unit) {
  double tokens = 0;
  for (const SftExample& example : unit) {
    if (example.trained.empty()) tokens += static_cast<double>(example.completion.size());
    for (const char trained : example.trained) tokens += trained;
  }
  return tokens;
}

}  // namespace

SupervisedObjective next_token_objective() {
  const auto loss = [](const SupervisedMicroBatch& batch, const at::Tensor& logp_N, double scale, UpdateTrace* trace) {
    const at::Tensor weights_N = at::tensor(batch.weights);
    if (trace != nullptr) {
      for (const float weight : batch.weights) trace->token_weights.push_back(weight * static_cast<float>(scale));
    }
    return SupervisedLoss{{-(logp_N * weights_N).sum(at::kDouble).item<double>()}, -weights_N};
  };
  return {{"loss"}, trained_tokens, loss};
}

SupervisedTrainer::SupervisedTrainer(const Transformer& model, ShardedOptimizer& optimizer, SupervisedOptions options,
                                     Communicator& communicator, const LoraAdapters* lora)
    : model_(model),
      optimizer_(optimizer),
      options_(std::move(options)),
      communicator_(communicator),
      gradients_(model, optimizer, lora, options_.zero_stage) {}

SupervisedStep SupervisedTrainer::train(std::int64_t step, UpdateTrace* trace) {
  std::vector<SupervisedUnit> units;
  for (std::int64_t i = communicator_.rank(); i < options_.batch; i += communicator_.size()) {
    units.push_back(options_.unit(static_cast<std::uint64_t>((step - 1) * options_.batch + i)));
  }
  gradients_.clear();
  SupervisedStep result = pass(units, true, trace);
  result.update = gradients_.step(step, trace);
  if (trace != nullptr) {
    trace->loss = communicator_.rank() == 0 ? result.means[0] : 0.0;  // it is the sum over the ranks already
    *trace = joined(std::move(*trace), communicator_);
  }
  return result;
}

std::vector<double> SupervisedTrainer::evaluate(const std::function<SupervisedUnit(std::uint64_t)>& unit, std::uint64_t units) {
  std::vector<SupervisedUnit> own;
  const auto ranks = static_cast<std::uint64_t>(communicator_.size());
  for (auto i = static_cast<std::uint64_t>(communicator_.rank()); i < units; i += ranks) own.push_back(unit(i));
  return pass(own, false, nullptr).means;
}

SupervisedStep SupervisedTrainer::pass(const std::vector<SupervisedUnit>& units, bool backward, UpdateTrace* trace) {
  const SupervisedObjective& objective = options_.objective;
  std::array<double, 2> totals = {0, 0};  // weight, tokens
  for (const SupervisedUnit& unit : units) {
    totals[0] += objective.weight(unit);
    totals[1] += static_cast<double>(length_of(unit));
  }
  communicator_.all_reduce_sum(std::span<double>(totals), "weight of a supervised step");

  SupervisedStep result{std::vector<double>(objective.metrics.size(), 0.0), totals[0], static_cast<std::int64_t>(totals[1]), {}};
  const double scale = 1.0 / totals[0];
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<SupervisedMicroBatch> batches =
      micro_batches_of(units, static_cast<std::size_t>(options_.micro_tokens), options_.share_prompts, ids);
  batches.resize(gradients_.rounds(batches.size()));
  for (const SupervisedMicroBatch& batch : batches) {
    TokenPass pass(model_, batch.sequences, 1.0, backward ? std::optional(options_.recompute) : std::nullopt, options_.share_prompts);
    if (trace != nullptr) trace->add(batch.sequences, pass.tokens());
    const SupervisedLoss loss = objective.loss(batch, pass.tokens().logp_N, scale, trace);
    for (std::size_t i = 0; i < result.means.size(); ++i) result.means[i] += loss.sums[i] / totals[0];
    if (backward) pass.backward(loss.grad_logp_N * scale, gradients_);
  }
  communicator_.all_reduce_sum(std::span<double>(result.means), "means of a supervised step");
  return result;
}

bool any_rank(bool here, Communicator& communicator) {
  std::array<float, 1> votes = {here ? 1.0F : 0.0F};
  communicator.all_reduce_sum(std::span<float>(votes), "stop");
  return votes[0] > 0;
}

}  // namespace troupe
