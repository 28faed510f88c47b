#include "common/model/token_logprobs.h"

#include <cstring>

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/cuda/token_logprobs.h"
#include "common/model/passes.h"

namespace troupe {
namespace {

/// Logits of hidden rows, a chunk at a time, in fp32. `all` (may be undefined): room for those of every row, which stay there.
template <typename T>
class LogitChunks {
 public:
  LogitChunks(const at::Tensor& hidden_NH, const RightOperand<T>& head, std::int64_t vocabulary, const at::Tensor& all = {})
      : hidden_NH_(hidden_NH), head_(head), width_(hidden_NH.size(1)), vocabulary_(vocabulary), chunks_(hidden_NH.size(0)), values_(all) {
    stay_ = all.defined();
    if (!stay_) values_ = at::empty({chunks_.largest(), vocabulary}, at::kFloat);
  }

  const RowChunks& chunks() const { return chunks_; }
  const at::Tensor& values() const { return values_; }

  /// The logits of the rows of `chunk`, in values().
  const float* compute(std::int64_t chunk) {
    const std::int64_t begin = chunks_.begin(chunk), count = chunks_.begin(chunk + 1) - begin;
    float* values = data_of<float>(values_) + (stay_ ? begin * vocabulary_ : 0);
    head_.multiply_to_float(data_of<T>(hidden_NH_) + begin * width_, count, values);
    return values;
  }

 private:
  const at::Tensor& hidden_NH_;
  const RightOperand<T>& head_;
  std::int64_t width_, vocabulary_;
  RowChunks chunks_;
  at::Tensor values_;
  bool stay_;
};

void check_operands(const at::Tensor& hidden_NH, const at::Tensor& head_VH) {
  check(hidden_NH.dim() == 2 && head_VH.dim() == 2 && hidden_NH.size(1) == head_VH.size(1) && hidden_NH.is_contiguous() &&
            head_VH.is_contiguous() && hidden_NH.scalar_type() == head_VH.scalar_type() &&
            hidden_NH.device() == head_VH.device(),
        "hidden [N, H] and head [V, H] are contiguous, of one dtype and on one device");
}

void check_targets(const at::Tensor& targets_N, std::int64_t rows, std::int64_t vocabulary) {
  check(targets_N.numel() == rows && targets_N.scalar_type() == at::kLong && targets_N.is_contiguous(),
        "there is one int64 target a row");
  const std::int64_t* targets = data_of<std::int64_t>(targets_N);
  for (std::int64_t row = 0; row < rows; ++row) {
    check(targets[row] >= 0 && targets[row] < vocabulary, "targets lie within the vocabulary");
  }
}

}  // namespace

TokenLogprobs token_logprobs(const at::Tensor& hidden_NH, const at::Tensor& head_VH, const at::Tensor& targets_N,
                             double temperature, bool keep) {
  const std::int64_t rows = hidden_NH.size(0), vocabulary = head_VH.size(0);
  check_operands(hidden_NH, head_VH);
  check_targets(targets_N, rows, vocabulary);
  check(temperature > 0, "log-probabilities are taken at a positive temperature");
  if (head_VH.is_cuda()) return cuda::token_logprobs(hidden_NH, head_VH, targets_N.to(at::kCUDA), temperature);
  TokenLogprobs result{at::empty({rows}, at::kFloat), at::empty({rows}, at::kFloat), at::empty({rows}, at::kFloat)};
  if (keep && rows * vocabulary <= kMostKeptLogits) result.logits_NV = at::empty({rows, vocabulary}, at::kFloat);
  const std::int64_t* targets = data_of<std::int64_t>(targets_N);
  float *logp = data_of<float>(result.logp_N), *entropy = data_of<float>(result.entropy_N),
        *lse = data_of<float>(result.lse_N);
  with_compute_type(head_VH.scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    const auto head = RightOperand<T>::transposed(data_of<T>(head_VH), vocabulary, head_VH.size(1));
    LogitChunks<T> logits(hidden_NH, head, vocabulary, result.logits_NV);
    for (std::int64_t chunk = 0; chunk < logits.chunks().count; ++chunk) {
      const std::int64_t begin = logits.chunks().begin(chunk);
      const float* values = logits.compute(chunk);
      for_rows(logits.chunks().begin(chunk + 1) - begin, vocabulary, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t row = first; row < last; ++row) {
          const RowStatistics statistics = kernels<float>().row_statistics(
              values + row * vocabulary, vocabulary, static_cast<float>(temperature), targets[begin + row]);
          logp[begin + row] = statistics.logp;
          entropy[begin + row] = statistics.entropy;
          lse[begin + row] = statistics.lse;
        }
      });
    }
  });
  return result;
}

at::Tensor token_logprobs_backward(const at::Tensor& hidden_NH, const at::Tensor& head_VH, const at::Tensor& targets_N,
                                   double temperature, const TokenLogprobs& forward, const at::Tensor& grad_logp_N,
                                   at::Tensor& grad_head_VH) {
  const std::int64_t rows = hidden_NH.size(0), vocabulary = head_VH.size(0), width = head_VH.size(1);
  check_operands(hidden_NH, head_VH);
  check_targets(targets_N, rows, vocabulary);
  check(grad_head_VH.scalar_type() == at::kFloat && grad_head_VH.is_contiguous() && grad_head_VH.sizes() == head_VH.sizes(),
        "the head's gradient is fp32 and has its shape");
  check(grad_logp_N.scalar_type() == at::kFloat && grad_logp_N.is_contiguous() && grad_logp_N.numel() == rows,
        "there is one fp32 gradient a row");
  if (head_VH.is_cuda()) {
    return cuda::token_logprobs_backward(hidden_NH, head_VH, targets_N.to(at::kCUDA), temperature, forward, grad_logp_N, grad_head_VH);
  }
  at::Tensor grad_hidden = at::empty_like(hidden_NH);
  const std::int64_t* targets = data_of<std::int64_t>(targets_N);
  const float *lse = data_of<float>(forward.lse_N), *grad_logp = data_of<float>(grad_logp_N);
  with_compute_type(head_VH.scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    const bool kept = forward.logits_NV.defined();
    const auto head = kept ? RightOperand<T>() : RightOperand<T>::transposed(data_of<T>(head_VH), vocabulary, width);
    const auto back = RightOperand<T>::plain(data_of<T>(head_VH), vocabulary, width);
    LogitChunks<T> logits(hidden_NH, head, vocabulary, forward.logits_NV);
    const at::Tensor grad_logits = at::empty({logits.chunks().largest(), vocabulary}, head_VH.scalar_type());
    T* grads = data_of<T>(grad_logits);
    for (std::int64_t chunk = 0; chunk < logits.chunks().count; ++chunk) {
      const std::int64_t begin = logits.chunks().begin(chunk), count = logits.chunks().begin(chunk + 1) - begin;
      const float* values = kept ? data_of<float>(forward.logits_NV) + begin * vocabulary : logits.compute(chunk);
      for_rows(count, vocabulary, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t row = first; row < last; ++row) {
          kernels<T>().logp_gradient(values + row * vocabulary, vocabulary, static_cast<float>(temperature),
                                     lse[begin + row], targets[begin + row], grad_logp[begin + row],
                                     grads + row * vocabulary);
        }
      });
      back.multiply(grads, count, data_of<T>(grad_hidden) + begin * width);
      add_weight_gradient(grads, data_of<T>(hidden_NH) + begin * width, data_of<float>(grad_head_VH), count, vocabulary,
                          width);
    }
  });
  return grad_hidden;
}

template <typename T>
at::Tensor logits_of(const at::Tensor& hidden_NH, const RightOperand<T>& head, std::int64_t vocabulary) {
  const std::int64_t rows = hidden_NH.size(0);
  if (rows == 0) return at::empty({0, vocabulary}, at::kFloat);
  LogitChunks<T> logits(hidden_NH, head, vocabulary);
  if (logits.chunks().count == 1) {
    logits.compute(0);
    return logits.values().narrow(0, 0, rows);
  }
  at::Tensor all = at::empty({rows, vocabulary}, at::kFloat);
  for (std::int64_t chunk = 0; chunk < logits.chunks().count; ++chunk) {
    const std::int64_t begin = logits.chunks().begin(chunk), count = logits.chunks().begin(chunk + 1) - begin;
    std::memcpy(data_of<float>(all) + begin * vocabulary, logits.compute(chunk),
                sizeof(float) * static_cast<std::size_t>(count * vocabulary));
  }
  return all;
}
template at::Tensor logits_of(const at::Tensor&, const RightOperand<float>&, std::int64_t);
template at::Tensor logits_of(const at::Tensor&, const RightOperand<Bf16>&, std::int64_t);

at::Tensor row_logits(const at::Tensor& hidden_NH, const at::Tensor& head_VH) {
  check_operands(hidden_NH, head_VH);
  return with_compute_type(head_VH.scalar_type(), [&](auto* compute_type) {
    using T = std::remove_pointer_t<decltype(compute_type)>;
    const std::int64_t vocabulary = head_VH.size(0);
    return logits_of(hidden_NH, RightOperand<T>::transposed(data_of<T>(head_VH), vocabulary, head_VH.size(1)), vocabulary);
  });
}

float log_sum_exp(const float* logits, std::int64_t vocabulary, float temperature) {
  return kernels<float>().log_sum_exp(logits, vocabulary, temperature);
}

}  // namespace troupe
