#include "common/model/cuda/packed_inputs.h"

#include <algorithm>
#include <vector>

#include <ATen/Functions.h>

#include "common/model/cuda/backward_kernels.h"
#include "common/model/passes.h"

namespace troupe {

PackedInputs::PackedInputs(const PackedSequences& batch) : rows_(batch.ids_T.numel()) {
  std::vector<std::int64_t> key_starts = {0}, key_rows;
  const bool shares = std::ranges::any_of(batch.prefixes, [](std::int64_t prefix) { return prefix >= 0; });
  for (std::int64_t s = 0; s < batch.sequences(); ++s) {
    const PackedSequences::Rows rows = batch.rows(s);
    longest_ = std::max(longest_, rows.tokens);
    longest_keys_ = std::max(longest_keys_, rows.prefix_tokens + rows.tokens);
    key_starts.push_back(key_starts.back() + rows.prefix_tokens + rows.tokens);
    for (std::int64_t i = 0; shares && i < rows.prefix_tokens; ++i) key_rows.push_back(rows.prefix_begin + i);
    for (std::int64_t i = 0; shares && i < rows.tokens; ++i) key_rows.push_back(rows.begin + i);
  }
  positions_ = ints_.add(packed_positions(batch));
  const std::int64_t starts = ints_.add(batch.sequence_starts), of_keys = ints_.add(key_starts), which = ints_.add(key_rows);
  ints_.upload();
  starts_S = ints_.at(starts, batch.sequences() + 1);
  key_starts_S = ints_.at(of_keys, batch.sequences() + 1);
  if (shares) key_rows_K = ints_.at(which, std::ssize(key_rows));
}

at::Tensor PackedInputs::keys_of(const at::Tensor& rows) const { return shares() ? rows.index_select(0, key_rows_K) : rows; }

at::Tensor PackedInputs::sum_over_keys(const at::Tensor& grad_keys) const {
  const std::int64_t width = grad_keys.size(1) * grad_keys.size(2);
  const auto [rows, order] = key_rows_K.to(at::kLong).sort(/*stable=*/true, 0, /*descending=*/false);
  const at::Tensor grads = grad_keys.to(at::kFloat).contiguous(), sums = at::zeros({rows_, grad_keys.size(1), grad_keys.size(2)}, on_gpu(at::kFloat));
  cuda::embedding_backward(data_of<float>(grads), data_of<std::int64_t>(rows), data_of<std::int64_t>(order), grad_keys.size(0), width,
                           data_of<float>(sums), current_stream());
  return sums.to(at::kBFloat16);
}

}  // namespace troupe
