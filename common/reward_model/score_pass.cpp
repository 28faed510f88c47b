#include "common/reward_model/score_pass.h"

#include <ATen/ATen.h>

#include "common/base/error.h"
#include "common/model/tensor_cut.h"

namespace troupe {
namespace {

std::vector<TextRows> last_tokens(std::span<const std::span<const std::int32_t>> texts) {
  std::vector<TextRows> result;
  for (const std::span<const std::int32_t> text : texts) result.push_back({text, static_cast<std::int64_t>(text.size()) - 1});
  return result;
}

}  // namespace

ScorePass::ScorePass(const Transformer& model, std::span<const std::span<const std::int32_t>> texts, std::optional<Recompute> keep)
    : ScorePass(model, last_tokens(texts), keep) {}

ScorePass::ScorePass(const Transformer& model, std::span<const TextRows> texts, std::optional<Recompute> keep, bool share)
    : model_(model), packed_(pack_rows(texts, share, model.parameters().flat().device())) {
  check(model.parameters().architecture().scores, "a score is a reward model's");
  if (keep) saved_.recompute = *keep;
  hidden_SH = model.forward(packed_.sequences, keep ? &saved_ : nullptr).index_select(0, packed_.rows_N).to(at::kFloat);
  const at::Tensor weight_1H = model.head_VH();
  model.parameters().settle();
  const at::Tensor states_SH = hidden_SH.cpu(), weight_H = weight_1H.to(at::kFloat).cpu().contiguous();
  const float* const w = weight_H.const_data_ptr<float>();
  for (std::int64_t s = 0; s < states_SH.size(0); ++s) {
    const float* const h = states_SH.const_data_ptr<float>() + s * states_SH.size(1);
    double sum = 0;
    for (std::int64_t i = 0; i < states_SH.size(1); ++i) sum += static_cast<double>(h[i]) * static_cast<double>(w[i]);
    scores_.push_back(static_cast<float>(sum));
  }
}

void ScorePass::backward(std::span<const double> grad_scores, at::Tensor& gradients) {
  WholeGradients whole(model_.parameters().layout(), gradients);
  backward(grad_scores, whole);
}

void ScorePass::backward(std::span<const double> grad_scores, GradientUnits& gradients) {
  check(grad_scores.size() == scores_.size(), "there is one gradient a score");
  const at::Tensor grad_S = at::tensor(std::vector<double>(grad_scores.begin(), grad_scores.end()), at::kDouble).to(hidden_SH.device());
  const at::Tensor weight_1H = model_.head_VH();
  const TensorCut* const cut = model_.parameters().cut();
  // Ranks that hold the model together all know the gradient of the score: the first one adds it.
  const at::Tensor grad_weight_1H = model_.head_in(gradients.unit(model_.head_unit()));
  if (cut == nullptr || cut->group().rank() == 0) grad_weight_1H.add_(grad_S.matmul(hidden_SH.to(at::kDouble)));
  const at::Tensor grad_SH = (grad_S.unsqueeze(1) * weight_1H.to(at::kDouble)).to(weight_1H.scalar_type());
  model_.backward(packed_.sequences, saved_, packed_.gradient(grad_SH), gradients);
  model_.parameters().settle();
}

}  // namespace troupe
