#include "learner/stages/sft.h"

#include <ATen/ATen.h>

#include <array>
#include <optional>

#include "common/model/transformer.h"
#include "learner/sharded_optimizer.h"
#include "learner/token_pass.h"

namespace troupe {
namespace {

struct Row {
  std::vector<std::int32_t> ids;
  std::int64_t prompt_tokens = 0;
};

std::vector<Row> rows_of_rank(const SftOptions& options, std::int64_t step, const Communicator& communicator) {
  std::vector<Row> rows;
  for (std::int64_t i = communicator.rank(); i < options.batch; i += communicator.size()) {
    auto [prompt, completion] = options.example(static_cast<std::uint64_t>((step - 1) * options.batch + i));
    Row row{std::move(prompt), 0};
    row.prompt_tokens = static_cast<std::int64_t>(row.ids.size());
    row.ids.insert(row.ids.end(), completion.begin(), completion.end());
    rows.push_back(std::move(row));
  }
  return rows;
}

/// Neighbouring rows up to `budget` ids together; a longer row alone.
std::vector<std::vector<TokenSequence>> micro_batches_of(const std::vector<Row>& rows, std::int64_t budget) {
  std::vector<std::vector<TokenSequence>> batches;
  std::int64_t used = budget;
  for (const Row& row : rows) {
    const auto length = static_cast<std::int64_t>(row.ids.size());
    if (used + length > budget) {
      batches.emplace_back();
      used = 0;
    }
    batches.back().push_back({row.ids, row.prompt_tokens});
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
  at::Tensor gradients = at::zeros({parameters.layout().total}, at::kFloat);
  for (std::int64_t step = 1; step <= options.steps; ++step) {
    const std::vector<Row> rows = rows_of_rank(options, step, communicator);
    std::array<double, 1> tokens = {0};
    for (const Row& row : rows) tokens[0] += static_cast<double>(row.ids.size()) - static_cast<double>(row.prompt_tokens);
    communicator.all_reduce_sum(std::span<double>(tokens), "sft token count");

    gradients.zero_();
    std::array<double, 1> sum = {0};
    std::optional<UpdateTrace> trace;
    if (step == 1 && options.on_first_update) trace.emplace();
    for (const auto& micro_batch : micro_batches_of(rows, options.micro_tokens)) {
      TokenPass pass(model, micro_batch, 1.0, true);
      const at::Tensor& logp_N = pass.tokens().logp_N;
      sum[0] -= logp_N.sum(at::kDouble).item<double>() / tokens[0];
      if (trace) {
        trace->add(micro_batch, pass.tokens());
        trace->token_weights.resize(trace->logprobs.size(), static_cast<float>(1.0 / tokens[0]));
      }
      pass.backward(at::full_like(logp_N, -1.0 / tokens[0]), gradients);
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
