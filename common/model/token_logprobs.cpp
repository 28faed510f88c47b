#include "common/model/token_logprobs.h"

#include <cstring>

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/passes.h"

namespace troupe {
namespace {

/// Rows of hidden states whose logits are held at once.
struct Logits {
  const at::Tensor& hidden_NH;
  const at::Tensor& head_VH;
  std::int64_t rows, hidden, vocabulary;
  RowChunks chunks;
  at::Tensor padded;   // a copy of fewer than kMinRows rows
  at::Tensor product;  // compute dtype
  at::Tensor values;   // fp32

  Logits(const at::Tensor& hidden_rows, const at::Tensor& head)
      : hidden_NH(hidden_rows),
        head_VH(head),
        rows(hidden_rows.size(0)),
        hidden(head.size(1)),
        vocabulary(head.size(0)),
        chunks(rows) {
    check(hidden_rows.dim() == 2 && hidden_rows.size(1) == hidden && hidden_rows.is_contiguous() && head.is_contiguous() &&
              hidden_rows.scalar_type() == head.scalar_type(),
          "hidden [N, H] and head [V, H] are contiguous and of one dtype");
    const std::int64_t held = padded_rows(chunks.largest());
    if (rows < kMinRows) {
      padded = at::zeros({kMinRows, hidden}, head.scalar_type());
      padded.narrow(0, 0, rows).copy_(hidden_rows);
    }
    values = at::empty({held, vocabulary}, at::kFloat);
    if (head.scalar_type() != at::kFloat) product = at::empty({held, vocabulary}, head.scalar_type());
  }

  /// The logits of the rows of a chunk.
  const float* compute(std::int64_t chunk) {
    const std::int64_t begin = chunks.begin(chunk), count = chunks.begin(chunk + 1) - begin;
    const std::int64_t multiplied = padded_rows(count);
    with_compute_type(head_VH.scalar_type(), [&](auto* compute_type) {
      using T = std::remove_pointer_t<decltype(compute_type)>;
      const T* from = padded.defined() ? data_of<T>(padded) : data_of<T>(hidden_NH) + begin * hidden;
      T* to = product.defined() ? data_of<T>(product) : data_of<T>(values);
      multiply(from, data_of<T>(head_VH), to, multiplied, vocabulary, hidden);
      if constexpr (sizeof(T) != sizeof(float)) {
        for_rows(count, vocabulary, [&](std::int64_t first, std::int64_t last) {
          kernels<T>().to_float(to + first * vocabulary, (last - first) * vocabulary,
                                data_of<float>(values) + first * vocabulary);
        });
      }
    });
    return data_of<float>(values);
  }
};

}  // namespace

TokenLogprobs token_logprobs(const at::Tensor& hidden_NH, const at::Tensor& head_VH, const at::Tensor& targets_N,
                             double temperature) {
  Logits logits(hidden_NH, head_VH);
  check(targets_N.numel() == logits.rows && targets_N.scalar_type() == at::kLong && targets_N.is_contiguous(),
        "there is one int64 target a row");
  check(temperature > 0, "log-probabilities are taken at a positive temperature");
  const auto options = at::TensorOptions(at::kFloat);
  TokenLogprobs result{at::empty({logits.rows}, options), at::empty({logits.rows}, options),
                       at::empty({logits.rows}, options)};
  const std::int64_t* targets = data_of<std::int64_t>(targets_N);
  float *logp = data_of<float>(result.logp_N), *entropy = data_of<float>(result.entropy_N),
        *lse = data_of<float>(result.lse_N);
  for (std::int64_t chunk = 0; chunk < logits.chunks.count; ++chunk) {
    const std::int64_t begin = logits.chunks.begin(chunk);
    const float* values = logits.compute(chunk);
    for_rows(logits.chunks.begin(chunk + 1) - begin, logits.vocabulary, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) {
        const RowStatistics statistics =
            kernels<float>().row_statistics(values + row * logits.vocabulary, logits.vocabulary,
                                            static_cast<float>(temperature), targets[begin + row]);
        logp[begin + row] = statistics.logp;
        entropy[begin + row] = statistics.entropy;
        lse[begin + row] = statistics.lse;
      }
    });
  }
  return result;
}

at::Tensor token_logprobs_backward(const at::Tensor& hidden_NH, const at::Tensor& head_VH, const at::Tensor& targets_N,
                                   double temperature, const TokenLogprobs& forward, const at::Tensor& grad_logp_N,
                                   at::Tensor& grad_head_VH) {
  Logits logits(hidden_NH, head_VH);
  check(grad_head_VH.scalar_type() == at::kFloat && grad_head_VH.is_contiguous() &&
            grad_head_VH.numel() == head_VH.numel(),
        "the head's gradient is fp32 and has its shape");
  check(grad_logp_N.scalar_type() == at::kFloat && grad_logp_N.is_contiguous() && grad_logp_N.numel() == logits.rows,
        "there is one fp32 gradient a row");
  at::Tensor grad_hidden = at::empty_like(hidden_NH);
  with_compute_type(head_VH.scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    const std::int64_t *targets = data_of<std::int64_t>(targets_N), vocabulary = logits.vocabulary;
    const float *lse = data_of<float>(forward.lse_N), *grad_logp = data_of<float>(grad_logp_N);
    at::Tensor grad_logits = at::empty({logits.chunks.largest(), vocabulary}, head_VH.scalar_type());
    T* grads = data_of<T>(grad_logits);
    for (std::int64_t chunk = 0; chunk < logits.chunks.count; ++chunk) {
      const std::int64_t begin = logits.chunks.begin(chunk), count = logits.chunks.begin(chunk + 1) - begin;
      const float* values = logits.compute(chunk);
      for_rows(count, vocabulary, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t row = first; row < last; ++row) {
          kernels<T>().logp_gradient(values + row * vocabulary, vocabulary, static_cast<float>(temperature),
                                     lse[begin + row], targets[begin + row], grad_logp[begin + row],
                                     grads + row * vocabulary);
        }
      });
      multiply_back(grads, data_of<T>(head_VH), data_of<T>(grad_hidden) + begin * logits.hidden, count, vocabulary,
                    logits.hidden);
      add_weight_gradient(grads, data_of<T>(hidden_NH) + begin * logits.hidden, data_of<float>(grad_head_VH), count,
                          vocabulary, logits.hidden);
    }
  });
  return grad_hidden;
}

at::Tensor row_logits(const at::Tensor& hidden_NH, const at::Tensor& head_VH) {
  Logits logits(hidden_NH, head_VH);
  if (logits.chunks.count == 0) return at::empty({0, logits.vocabulary}, at::kFloat);
  if (logits.chunks.count == 1) {
    logits.compute(0);
    return logits.values.narrow(0, 0, logits.rows);
  }
  at::Tensor all = at::empty({logits.rows, logits.vocabulary}, at::kFloat);
  for (std::int64_t chunk = 0; chunk < logits.chunks.count; ++chunk) {
    const std::int64_t begin = logits.chunks.begin(chunk), count = logits.chunks.begin(chunk + 1) - begin;
    std::memcpy(data_of<float>(all) + begin * logits.vocabulary, logits.compute(chunk),
                sizeof(float) * static_cast<std::size_t>(count * logits.vocabulary));
  }
  return all;
}

float log_sum_exp(const float* logits, std::int64_t vocabulary, float temperature) {
  return kernels<float>().log_sum_exp(logits, vocabulary, temperature);
}

}  // namespace troupe
