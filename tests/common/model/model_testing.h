#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/Functions.h>

#include "common/model/token_logprobs.h"
#include "common/model/transformer.h"

namespace troupe::testing {

/// A small architecture with every feature that tests need to turn: grouped heads, bias, untied head.
inline Architecture small_architecture() {
  Architecture a;
  a.vocabulary = 104;
  a.hidden = 64;
  a.intermediate = 96;
  a.layers = 2;
  a.heads = 4;
  a.kv_heads = 2;
  a.head_size = 16;
  a.max_positions = 256;
  return a;
}

/// Parameters well spread, so that no term of a sum is too small to be noticed.
inline Parameters random_parameters(const Architecture& architecture, at::ScalarType dtype, std::uint64_t seed = 5) {
  Parameters start(architecture, at::kFloat);
  initialise_(start, seed);
  Parameters parameters(architecture, dtype);
  for (const ParameterSpec& spec : parameters.layout().tensors) {
    const at::Tensor noise = at::arange(spec.numel, at::kFloat).mul_(0.7).sin_().mul_(0.1).view(spec.shape);
    parameters[spec.name].copy_(spec.shape.size() == 1 ? start[spec.name] + noise : start[spec.name] * 8.0);
  }
  return parameters;
}

/// Sequences of the given lengths with ids that look random.
inline PackedSequences sequences_of(const std::vector<std::int64_t>& lengths, std::int64_t vocabulary,
                                    std::uint64_t seed = 3) {
  PackedSequences batch;
  batch.sequence_starts = {0};
  for (const std::int64_t length : lengths) batch.sequence_starts.push_back(batch.sequence_starts.back() + length);
  batch.ids_T = at::empty({batch.sequence_starts.back()}, at::kLong);
  auto* ids = batch.ids_T.mutable_data_ptr<std::int64_t>();
  std::uint64_t state = seed;
  for (std::int64_t i = 0; i < batch.ids_T.numel(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    ids[i] = static_cast<std::int64_t>(state >> 33) % vocabulary;
  }
  return batch;
}

}  // namespace troupe::testing
