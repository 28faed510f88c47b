#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "common/model/transformer.h"

// S texts, T tokens of all of them, H hidden.

namespace troupe {

/// One forward pass of a reward model over packed texts up to each one's score, and what its backward needs. The score is
/// w · h, w = score.weight and h the final normed hidden state of the text's last token: what transformers'
/// …ForSequenceClassification with one label gives. It is added up in double, so its bits depend on its own text alone.
class ScorePass {
 public:
  /// Runs the model over `texts`, none of them empty. `keep` saves the activations that backward needs. @throws ConfigError naming
  /// a token that is not in the vocabulary, or a position past the model's.
  ScorePass(const Transformer& model, std::span<const std::span<const std::int32_t>> texts, bool keep);

  /// One a text.
  const std::vector<float>& scores() const { return scores_; }

  /// Adds dL/dparameter to `gradients` (flat fp32, as Transformer::backward) for dL/dscore, one a text. Once, and only with `keep`.
  void backward(std::span<const double> grad_scores, at::Tensor& gradients);

 private:
  const Transformer& model_;
  PackedSequences packed_;
  Activations saved_;
  at::Tensor last_S;     // which of the T tokens is each text's last
  at::Tensor hidden_SH;  // fp32
  std::int64_t total_tokens_ = 0;
  std::vector<float> scores_;
};

}  // namespace troupe
