#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "common/model/transformer.h"

// N rows (tokens), H hidden, V vocabulary.

namespace troupe {

/// log p of `targets` and the entropy of each row's distribution softmax(hidden head^T / temperature), in fp32.
struct TokenLogprobs {
  at::Tensor logp_N;     // natural logarithm
  at::Tensor entropy_N;  // nats; no gradient
  at::Tensor lse_N;      // log-sum-exp of the tempered logits, for the backward
  at::Tensor logits_NV = {};  // fp32, on the CPU where they were to be kept and are few; else the backward computes them again
};

/// Fewer logits than these may be kept: 256 MiB.
inline constexpr std::int64_t kMostKeptLogits = 64 << 20;

/// Holds [N, V] only on the CPU, with `keep` and up to kMostKeptLogits; else works in chunks of rows. A row's bits depend on that row alone, and are those of `row_logprobs`. Hidden and
/// head lie in one memory, where the result is too; the targets on the CPU.
TokenLogprobs token_logprobs(const at::Tensor& hidden_NH, const at::Tensor& head_VH, const at::Tensor& targets_N,
                             double temperature, bool keep = false);

/// Given dL/dlogp [N], where hidden lies: returns dL/dhidden [N, H] (dtype of hidden) and adds dL/dhead to `grad_head_VH` (fp32).
at::Tensor token_logprobs_backward(const at::Tensor& hidden_NH, const at::Tensor& head_VH, const at::Tensor& targets_N,
                                   double temperature, const TokenLogprobs& forward, const at::Tensor& grad_logp_N,
                                   at::Tensor& grad_head_VH);

/// The logits [N, V] of rows as the sampler needs them, in fp32, through the same GEMM.
at::Tensor row_logits(const at::Tensor& hidden_NH, const at::Tensor& head_VH);

/// log(sum_v exp(logits[v] / temperature)) of one row of `vocabulary` fp32 logits, as token_logprobs computes it; the
/// log-probability of token v is logits[v] / temperature - the result, in float arithmetic, in this order.
float log_sum_exp(const float* logits, std::int64_t vocabulary, float temperature);

}  // namespace troupe
