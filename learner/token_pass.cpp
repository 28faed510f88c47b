#include "learner/token_pass.h"

#include <ATen/ATen.h>

#include "common/base/error.h"

namespace troupe {

TokenPass::TokenPass(const Transformer& model, std::span<const TokenSequence> sequences, double temperature,
                     std::optional<Recompute> keep)
    : model_(model), temperature_(temperature) {
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> rows;
  std::vector<std::int64_t> targets;
  packed_.sequence_starts.push_back(0);
  for (const TokenSequence& sequence : sequences) {
    const auto length = static_cast<std::int64_t>(sequence.ids.size());
    check(sequence.prompt_tokens >= 1 && sequence.prompt_tokens < length, "a sequence needs a prompt and a completion");
    const auto start = static_cast<std::int64_t>(ids.size());
    // The last token predicts nothing that is trained, so the model need not read it.
    ids.insert(ids.end(), sequence.ids.begin(), sequence.ids.end() - 1);
    for (std::int64_t i = sequence.prompt_tokens; i < length; ++i) {
      rows.push_back(start + i - 1);
      targets.push_back(sequence.ids[static_cast<std::size_t>(i)]);
    }
    packed_.sequence_starts.push_back(static_cast<std::int64_t>(ids.size()));
  }
  packed_.ids_T = at::tensor(ids, at::kLong);
  rows_N = at::tensor(rows, at::kLong).to(model.parameters().flat().device());
  targets_N = at::tensor(targets, at::kLong);
  if (keep) saved_.recompute = *keep;
  const at::Tensor hidden_TH = model.forward(packed_, keep ? &saved_ : nullptr);
  total_rows_ = hidden_TH.size(0);
  hidden_NH = hidden_TH.index_select(0, rows_N);
  tokens_ = token_logprobs(hidden_NH, model.head_VH(), targets_N, temperature);
  tokens_.logp_N = tokens_.logp_N.cpu();
  tokens_.entropy_N = tokens_.entropy_N.cpu();
}

void TokenPass::backward(const at::Tensor& grad_logp_N, GradientUnits& gradients) {
  const at::Tensor head_VH = model_.head_VH();
  at::Tensor grad_head_VH = model_.head_in(gradients.unit(model_.head_unit()));
  const at::Tensor grad_NH =
      token_logprobs_backward(hidden_NH, head_VH, targets_N, temperature_, tokens_, grad_logp_N.to(hidden_NH.device()), grad_head_VH);
  at::Tensor grad_TH = at::zeros({total_rows_, grad_NH.size(1)}, grad_NH.options());
  grad_TH.index_copy_(0, rows_N, grad_NH);
  model_.backward(packed_, saved_, grad_TH, gradients);
}

}  // namespace troupe
