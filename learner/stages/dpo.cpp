#include "learner/stages/dpo.h"

#include <ATen/ATen.h>

#include <string>

#include "common/base/error.h"
#include "common/base/metric_names.h"
#include "learner/objective/margin_loss.h"

namespace troupe {
namespace {

std::span<const float> span_of(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

/// Of each sequence, the sum over its trained tokens of log p - log p_reference.
std::vector<double> log_ratios(const SupervisedMicroBatch& batch, std::span<const float> logp, std::span<const float> reference) {
  std::vector<double> sums;
  std::size_t i = 0;
  for (const TokenSequence& sequence : batch.sequences) {
    double& sum = sums.emplace_back(0.0);
    const std::size_t end = i + sequence.ids.size() - static_cast<std::size_t>(sequence.prompt_tokens);
    for (; i < end; ++i) sum += double{batch.weights[i]} * (double{logp[i]} - double{reference[i]});
  }
  return sums;
}

SupervisedLoss preference_loss(const SupervisedMicroBatch& batch, std::span<const float> logp, std::span<const float> reference,
                               double beta) {
  const std::vector<double> ratios = log_ratios(batch, logp, reference);
  check(ratios.size() % 2 == 0, "a micro-batch of preferences has pairs");
  SupervisedLoss result{{0, 0, 0, 0, 0}, at::zeros({static_cast<std::int64_t>(logp.size())}, at::kFloat)};
  float* grad = result.grad_logp_N.mutable_data_ptr<float>();
  std::size_t at = 0;
  for (std::size_t pair = 0; pair < ratios.size(); pair += 2) {
    const double chosen = beta * ratios[pair];
    const double rejected = beta * ratios[pair + 1];
    const MarginLoss margin = margin_loss(chosen - rejected);
    const double values[] = {margin.loss, chosen > rejected ? 1.0 : 0.0, chosen - rejected, chosen, rejected};
    for (std::size_t k = 0; k < result.sums.size(); ++k) result.sums[k] += values[k];
    for (const std::size_t s : {pair, pair + 1}) {
      const double factor = (s == pair ? beta : -beta) * margin.slope;
      const std::size_t end = at + batch.sequences[s].ids.size() - static_cast<std::size_t>(batch.sequences[s].prompt_tokens);
      for (; at < end; ++at) grad[at] = static_cast<float>(factor * double{batch.weights[at]});
    }
  }
  return result;
}

}  // namespace

SupervisedObjective dpo_objective(const Transformer& reference, double beta, bool share_prompts) {
  const auto loss = [&reference, beta, share_prompts](const SupervisedMicroBatch& batch, const at::Tensor& logp_N, double scale,
                                       UpdateTrace* trace) {
    const TokenPass frozen(reference, batch.sequences, 1.0, std::nullopt, share_prompts);
    const std::span<const float> reference_logp = span_of(frozen.tokens().logp_N);
    SupervisedLoss result = preference_loss(batch, span_of(logp_N), reference_logp, beta);
    if (trace != nullptr) {
      trace->reference_logprobs.insert(trace->reference_logprobs.end(), reference_logp.begin(), reference_logp.end());
      for (const float weight : batch.weights) trace->token_weights.push_back(weight * static_cast<float>(scale));
    }
    return result;
  };
  std::vector<std::string> metrics;
  for (const auto name : {metric::kLoss, metric::kAccuracy, metric::kMargin, metric::kRewardChosen, metric::kRewardRejected}) {
    metrics.emplace_back(name);
  }
  return {std::move(metrics), [](const SupervisedUnit&) { return 1.0; }, loss};
}

}  // namespace troupe
