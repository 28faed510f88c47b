#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "common/model/packed_rows.h"
#include "common/model/row_share.h"
#include "common/model/token_logprobs.h"
#include "common/model/transformer.h"

// N completion tokens of all sequences, one sequence after the other; T tokens that the model reads; H hidden.

namespace troupe {

/// A text whose tokens from `prompt_tokens` on are predicted. Borrows the ids.
struct TokenSequence {
  std::span<const std::int32_t> ids;
  std::int64_t prompt_tokens = 0;
};

/// One forward pass of packed sequences up to the log-probability of each completion token, and what its backward needs. Ranks that hold
/// the model together share out the rows of the head.
class TokenPass {
 public:
  /// Runs the model. `keep` saves the activations that backward needs, but for what it says that backward computes again. With
  /// `share_prompts` neighbours of one prompt read it once: the same log-probabilities, to the bit; gradients whose sums are taken in
  /// another order.
  TokenPass(const Transformer& model, std::span<const TokenSequence> sequences, double temperature, std::optional<Recompute> keep,
            bool share_prompts = false);

  /// log p of the completion tokens and the entropy of their distributions: [N] fp32 each, on the CPU.
  const TokenLogprobs& tokens() const { return tokens_; }

  /// Adds dL/dparameter to `gradients` as Transformer::backward for dL/dlogp = grad_logp_N (on the CPU). Once, and only with `keep`.
  void backward(const at::Tensor& grad_logp_N, GradientUnits& gradients);

 private:
  const Transformer& model_;
  double temperature_;
  PackedRows packed_;  // the rows that predict completion tokens are used
  Activations saved_;
  at::Tensor targets_N;            // on the CPU; this rank's share, as hidden_NH
  at::Tensor hidden_NH;
  std::optional<RowShare> share_;  // of the N rows
  TokenLogprobs own_tokens_;       // of its share
  TokenLogprobs tokens_;
};

}  // namespace troupe
