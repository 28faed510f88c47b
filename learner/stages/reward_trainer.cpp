#include "learner/stages/reward_trainer.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <vector>

#include "common/reward_model/score_pass.h"
#include "learner/lora.h"
#include "learner/memory_plan.h"
#include "learner/objective/margin_loss.h"

namespace troupe {
namespace {

/// Neighbouring examples up to `budget` tokens together; a longer one alone.
std::vector<std::span<const RewardExample>> micro_batches_of(std::span<const RewardExample> examples, std::int64_t budget) {
  std::vector<std::span<const RewardExample>> batches;
  for (std::size_t begin = 0, end = 0; begin < examples.size(); begin = end) {
    for (std::int64_t used = 0; end < examples.size(); ++end) {
      used += static_cast<std::int64_t>(examples[end].text.size() + examples[end].rejected.size());
      if (used > budget && end > begin) break;
    }
    batches.push_back(examples.subspan(begin, end - begin));
  }
  return batches;
}

void add(UpdateTrace& trace, std::span<const RewardExample> examples) {
  for (const RewardExample& example : examples) {
    for (const auto* text : {&example.text, &example.rejected}) {
      if (text->empty()) continue;
      const auto tokens = static_cast<std::int64_t>(text->size());
      trace.sequence_tokens.push_back(tokens);
      trace.prompt_tokens.push_back(tokens);  // no token is predicted
      trace.ids.insert(trace.ids.end(), text->begin(), text->end());
    }
  }
}

}  // namespace

RewardTrainer::RewardTrainer(Parameters parameters, const Parameters& initial, const Config& config, const ShardRanks& ranks)
    : model_(parameters),
      optimizer_(make_optimizer(std::nullopt, parameters, initial, config, ranks)),
      micro_tokens_(config.batch.micro_tokens),
      communicator_(ranks.data()),
      gradients_(model_, optimizer_, nullptr, zero_stage_of(config, ranks.all())),
      recompute_(plan_memory(config, parameters, ranks.all()).recompute) {}

RewardNumbers RewardTrainer::run(std::span<const RewardExample> own, std::int64_t total, bool keep,
                                 const std::function<void(ScorePass& pass, std::span<const double> grads)>& use) {
  std::array<double, 3> sums = {};
  const auto share = 1.0 / static_cast<double>(total);
  std::vector<std::span<const RewardExample>> batches = micro_batches_of(own, micro_tokens_);
  batches.resize(gradients_.rounds(batches.size()));
  for (const std::span<const RewardExample> batch : batches) {
    std::vector<std::span<const std::int32_t>> texts;
    for (const RewardExample& example : batch) {
      texts.emplace_back(example.text);
      if (!example.rejected.empty()) texts.emplace_back(example.rejected);
    }
    ScorePass pass(model_, texts, keep ? std::optional(recompute_) : std::nullopt);
    std::vector<double> grads;
    auto score = pass.scores().begin();
    for (const RewardExample& example : batch) {
      const bool is_pair = !example.rejected.empty();
      double margin = example.sign * static_cast<double>(*score++);
      if (is_pair) margin -= example.sign * static_cast<double>(*score++);
      const auto [loss, slope] = margin_loss(margin);
      sums[0] += loss;
      sums[1] += margin > 0 ? 1 : 0;
      sums[2] += margin;
      grads.push_back(example.sign * slope * share);
      if (is_pair) grads.push_back(-example.sign * slope * share);
    }
    use(pass, grads);
  }
  communicator_.all_reduce_sum(std::span<double>(sums), "reward model numbers");
  return {sums[0] * share, sums[1] * share, sums[2] * share};
}

RewardStep RewardTrainer::step(std::int64_t number, std::span<const RewardExample> own, std::int64_t total, UpdateTrace* trace) {
  gradients_.clear();
  RewardStep result;
  result.numbers = run(own, total, true, [&](ScorePass& pass, std::span<const double> grads) {
    pass.backward(grads, gradients_);
    if (trace != nullptr) trace->rewards.insert(trace->rewards.end(), pass.scores().begin(), pass.scores().end());
  });
  if (trace != nullptr) {
    add(*trace, own);
    trace->loss = communicator_.rank() == 0 ? result.numbers.loss : 0.0;  // joined() adds the ranks'
  }
  result.update = gradients_.step(number, trace);
  return result;
}

RewardNumbers RewardTrainer::evaluate(std::span<const RewardExample> own, std::int64_t total) {
  return run(own, total, false, [](ScorePass&, std::span<const double>) {});
}

}  // namespace troupe
