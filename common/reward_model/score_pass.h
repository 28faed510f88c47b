#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/model/gradient_units.h"
#include "common/model/packed_rows.h"

// S scores, H hidden.

namespace troupe {

/// One forward pass of a reward model over packed texts up to the scores of their tokens, and what its backward needs. A token's score
/// is w · h, w = score.weight and h its final normed hidden state; the last token's is what transformers' …ForSequenceClassification
/// with one label gives. It is added up in double, on the CPU, so its bits depend on its own text alone.
class ScorePass {
 public:
  /// Runs the model over `texts`, none of them empty, and scores each one's last token. `keep` saves the activations that backward
  /// needs, but for what it says that backward computes again. @throws ConfigError naming a token that is not in the vocabulary, or a
  /// position past the model's.
  ScorePass(const Transformer& model, std::span<const std::span<const std::int32_t>> texts, std::optional<Recompute> keep);
  /// The same of the tokens whose rows each text uses. With `share` neighbours that are equal up to the first of them read that much
  /// once: the same scores, to the bit; gradients whose sums are taken in another order.
  ScorePass(const Transformer& model, std::span<const TextRows> texts, std::optional<Recompute> keep, bool share = false);

  /// One a scored token, text after text.
  const std::vector<float>& scores() const { return scores_; }

  /// Adds dL/dparameter to `gradients` as Transformer::backward for dL/dscore. Once, and only with `keep`.
  void backward(std::span<const double> grad_scores, GradientUnits& gradients);
  /// The same to a flat tensor (fp32, laid out as the model's parameters).
  void backward(std::span<const double> grad_scores, at::Tensor& gradients);

 private:
  const Transformer& model_;
  PackedRows packed_;  // the rows of scored tokens are used
  Activations saved_;
  at::Tensor hidden_SH;  // fp32; where the model lies
  std::vector<float> scores_;
};

}  // namespace troupe
