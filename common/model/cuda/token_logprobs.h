#pragma once

#include "common/model/token_logprobs.h"

// token_logprobs on a GPU: bf16 hidden rows and head, fp32 logits in tiles.

namespace troupe::cuda {

/// As troupe::token_logprobs, of tensors on the GPU (targets too, within the vocabulary). Results lie on the GPU.
TokenLogprobs token_logprobs(const at::Tensor& hidden_NH, const at::Tensor& head_VH, const at::Tensor& targets_N, double temperature);

/// As troupe::token_logprobs_backward, likewise.
at::Tensor token_logprobs_backward(const at::Tensor& hidden_NH, const at::Tensor& head_VH, const at::Tensor& targets_N,
                                   double temperature, const TokenLogprobs& forward, const at::Tensor& grad_logp_N,
                                   at::Tensor& grad_head_VH);

}  // namespace troupe::cuda
