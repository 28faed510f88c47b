#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/model/transformer.h"

// S scores, T tokens of all texts, H hidden.

namespace troupe {

/// A text, and which of its tokens are scored: those from `first` on.
struct TextToScore {
  std::span<const std::int32_t> ids;
  std::int64_t first = 0;
};

/// One forward pass of a reward model over packed texts up to the scores of their tokens, and what its backward needs. A token's score
/// is w · h, w = score.weight and h its final normed hidden state; the last token's is what transformers' …ForSequenceClassification
/// with one label gives. It is added up in double, on the CPU, so its bits depend on its own text alone.
class ScorePass {
 public:
  /// Runs the model over `texts`, none of them empty, and scores each one's last token. `keep` saves the activations that backward
  /// needs, but for what it says that backward computes again. @throws ConfigError naming a token that is not in the vocabulary, or a
  /// position past the model's.
  ScorePass(const Transformer& model, std::span<const std::span<const std::int32_t>> texts, std::optional<Recompute> keep);
  /// The same of the tokens that each text says, at least one.
  ScorePass(const Transformer& model, std::span<const TextToScore> texts, std::optional<Recompute> keep);

  /// One a scored token, text after text.
  const std::vector<float>& scores() const { return scores_; }

  /// Adds dL/dparameter to `gradients` (flat fp32, as Transformer::backward) for dL/dscore. Once, and only with `keep`.
  void backward(std::span<const double> grad_scores, at::Tensor& gradients);

 private:
  const Transformer& model_;
  PackedSequences packed_;
  Activations saved_;
  at::Tensor rows_S;     // which of the T tokens are scored; where the model lies, as the next
  at::Tensor hidden_SH;  // fp32
  std::int64_t total_tokens_ = 0;
  std::vector<float> scores_;
};

}  // namespace troupe
