#pragma once

#include <cstdint>
#include <utility>

#include <ATen/core/Tensor.h>

#include "common/model/cuda/device.h"
#include "common/model/transformer.h"

// T rows, S sequences, K keys: of each sequence those of its prefix's rows and of its own; D head size.

namespace troupe {

/// What the passes read of packed sequences, in the memory of the GPU.
class PackedInputs {
 public:
  explicit PackedInputs(const PackedSequences& batch);

  const std::int32_t* positions() const { return ints_.data(positions_); }
  /// Where sequences begin, int32 [S + 1], in the rows and in the keys.
  const at::Tensor& starts() const { return starts_S; }
  const at::Tensor& key_starts() const { return key_starts_S; }
  std::int64_t sequences() const { return starts_S.numel() - 1; }
  std::int64_t longest() const { return longest_; }
  std::int64_t longest_keys() const { return longest_keys_; }
  /// Whether any sequence has a prefix.
  bool shares() const { return key_rows_K.defined(); }

  /// [K, n, D] of [T, n, D]: the rows themselves where nothing is shared.
  at::Tensor keys_of(const at::Tensor& rows) const;
  /// [T, n, D] bf16 of the gradients [K, n, D] of keys_of: a row's is the sum over its places, in fp32 and in their order.
  at::Tensor sum_over_keys(const at::Tensor& grad_keys) const;

 private:
  DeviceInts ints_;
  std::int64_t positions_ = 0, longest_ = 0, longest_keys_ = 0, rows_ = 0;
  at::Tensor starts_S, key_starts_S;
  at::Tensor key_rows_K;  // int32: which row each key is; undefined where nothing is shared
};

}  // namespace troupe
