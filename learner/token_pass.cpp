#include "learner/token_pass.h"

#include <ATen/ATen.h>

#include "common/base/error.h"

namespace troupe {

TokenPass::TokenPass(const Transformer& model, std::span<const TokenSequence> sequences, double temperature,
                     std::optional<Recompute> keep, bool share_prompts)
    : model_(model), temperature_(temperature) {
  std::vector<TextRows> texts;
  std::vector<std::int64_t> targets;
  for (const TokenSequence& sequence : sequences) {
    const auto length = static_cast<std::int64_t>(sequence.ids.size());
    check(sequence.prompt_tokens >= 1 && sequence.prompt_tokens < length, "a sequence needs a prompt and a completion");
    // The last token predicts nothing that is trained, so the model need not read it.
    texts.push_back({sequence.ids.first(sequence.ids.size() - 1), sequence.prompt_tokens - 1});
    const auto completion = sequence.ids.subspan(static_cast<std::size_t>(sequence.prompt_tokens));
    targets.insert(targets.end(), completion.begin(), completion.end());
  }
  packed_ = pack_rows(texts, share_prompts, model.parameters().flat().device());
  share_.emplace(model.parameters(), std::ssize(targets));
  targets_N = share_->own(at::tensor(targets, at::kLong));
  if (keep) saved_.recompute = *keep;
  hidden_NH = model.forward(packed_.sequences, keep ? &saved_ : nullptr).index_select(0, share_->own(packed_.rows_N));
  own_tokens_ = token_logprobs(hidden_NH, model.head_VH(), targets_N, temperature, keep == Recompute::kNone);
  model.parameters().settle();
  tokens_.logp_N = share_->all(own_tokens_.logp_N).cpu();
  tokens_.entropy_N = share_->all(own_tokens_.entropy_N).cpu();
}

void TokenPass::backward(const at::Tensor& grad_logp_N, GradientUnits& gradients) {
  const at::Tensor head_VH = model_.head_VH();
  at::Tensor grad_head_VH = model_.head_in(gradients.unit(model_.head_unit()));
  const at::Tensor grad_NH = share_->all(token_logprobs_backward(hidden_NH, head_VH, targets_N, temperature_, own_tokens_,
                                                                 share_->own(grad_logp_N).to(hidden_NH.device()), grad_head_VH));
  model_.backward(packed_.sequences, saved_, packed_.gradient(grad_NH), gradients);
  model_.parameters().settle();
}

}  // namespace troupe
