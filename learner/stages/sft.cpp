#include "learner/stages/sft.h"

#include <ATen/ATen.h>

#include <array>
#include <numeric>
#include <optional>

#include "common/model/transformer.h"
#include "learner/sharded_optimizer.h"
#include "learner/token_pass.h"

namespace troupe {
namespace {

struct Row {
  std::vector<std::int32_t> ids;
  std::int64_t prompt_tokens = 0;
  std::vector<float> weights;  // of the tokens from prompt_tokens on: 1 where trained, 0 where only read
};

std::vector<Row> rows_of_rank(const SftOptions& options, std::int64_t step, const Communicator& communicator) {
  std::vector<Row> rows;
  for (std::int64_t i = communicator.rank(); i < options.batch; i += communicator.size()) {
    auto [prompt, completion, trained] = options.example(static_cast<std::uint64_t>((step - 1) * options.batch + i));
    Row row{std::move(prompt), 0, {trained.begin(), trained.end()}};
    row.prompt_tokens = static_cast<std::int64_t>(row.ids.size());
    row.ids.insert(row.ids.end(), completion.begin(), completion.end());
    if (trained.empty()) row.weights.assign(completion.size(), 1.0F);
    rows.push_back(std::move(row));
  }
  return rows;
}

struct MicroBatch {
  std::vector<TokenSequence> sequences;
  std::vector<float> weights;  // of all their completion tokens
};

/// Neighbouring rows up to `budget` ids together; a longer row alone.
std::vector<MicroBatch> micro_batches_of(const std::vector<Row>& rows, std::int64_t budget) {
  std::vector<MicroBatch> batches;
  std::int64_t used = budget;
  for (const Row& row : rows) {
    const auto length = static_cast<std::int64_t>(row.ids.size());
    if (used + length > budget) {
      batches.emplace_back();
      used = 0;
    }
    batches.back().sequences.push_back({row.ids, row.prompt_tokens});
    batches.back().weights.insert(batches.back().weights.end(), row.weights.begin(), row.weights.end());
    used += length;
  }
  return batches;
}

/// The same answer on every rank: one rank's signal stops all of them.
bool agreed(bool stop, Communicator& communicator) {
  std::array<float, 1> votes = {stop ? 1.0F : 0.0F};
  communicator.all_reduce_sum(std::span<float>(votes), "stop");
  return votes[0] > 0;
}

}  // namespace

std::int64_t run_sft(Parameters& parameters, const SftOptions& options, Communicator& communicator) {
  const Transformer model(parameters);
  ShardedOptimizer optimizer(parameters, parameters.flat(), options.optimizer, options.steps, communicator);
  at::Tensor gradients = at::zeros({parameters.layout().total}, parameters.flat().options().dtype(at::kFloat));
  for (std::int64_t step = 1; step <= options.steps; ++step) {
    const std::vector<Row> rows = rows_of_rank(options, step, communicator);
    std::array<double, 1> tokens = {0};
    for (const Row& row : rows) tokens[0] += std::accumulate(row.weights.begin(), row.weights.end(), 0.0);
    communicator.all_reduce_sum(std::span<double>(tokens), "sft token count");

    gradients.zero_();
    std::array<double, 1> sum = {0};
    std::optional<UpdateTrace> trace;
    if (step == 1 && options.on_first_update) trace.emplace();
    for (const auto& [sequences, weights] : micro_batches_of(rows, options.micro_tokens)) {
      TokenPass pass(model, sequences, 1.0, true);
      const at::Tensor& logp_N = pass.tokens().logp_N;
      const at::Tensor weights_N = at::tensor(weights);
      sum[0] -= (logp_N * weights_N).sum(at::kDouble).item<double>() / tokens[0];
      if (trace) {
        trace->add(sequences, pass.tokens());
        for (const float weight : weights) trace->token_weights.push_back(weight * static_cast<float>(1.0 / tokens[0]));
      }
      pass.backward(weights_N * (-1.0 / tokens[0]), gradients);
    }
    communicator.all_reduce_sum(std::span<double>(sum), "sft loss");
    const OptimizerStep result = traced_step(optimizer, gradients, step, trace ? &*trace : nullptr);
    if (trace) {
      trace->loss = communicator.rank() == 0 ? sum[0] : 0.0;  // it is the sum over the ranks already
      const UpdateTrace whole = joined(std::move(*trace), communicator);
      if (communicator.rank() == 0) options.on_first_update(whole);
    }
    if (options.on_step && communicator.rank() == 0) options.on_step(step, sum[0], result.grad_norm);
    if (options.stop && agreed(options.stop(), communicator)) return step;
  }
  return options.steps;
}

}  // namespace troupe
