#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>

#include "learner/sharded_optimizer.h"

namespace troupe {

/// What an optimizer holds between two steps, whatever the number of its ranks: [total] fp32 each, on the CPU, laid out as what it
/// trains.
struct AdamState {
  at::Tensor master;
  at::Tensor exp_avg;
  at::Tensor exp_avg_sq;
  std::int64_t updates = 0;
};

/// Collective. The state on rank 0, undefined tensors on the others.
AdamState whole_state(ShardedOptimizer& optimizer);
/// Collective; every rank is given the whole state.
void restore_(ShardedOptimizer& optimizer, const AdamState& state);

/// A whole state as one safetensors file, and back. @throws TransportError; ConfigError naming the file and what it lacks.
void write_state(const AdamState& state, const std::filesystem::path& file);
AdamState read_state(const std::filesystem::path& file, std::int64_t total);

}  // namespace troupe
