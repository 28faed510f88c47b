#pragma once

#include <cstdint>
#include <string>

#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/model/transformer.h"

namespace troupe {

/// What a rank keeps of a forward pass, and why.
struct MemoryPlan {
  Recompute recompute = Recompute::kNone;
  std::int64_t rows = 0;             // of the largest micro-batch that is not a single sequence
  std::int64_t kept_bytes = 0;       // that `rows` rows take, as estimated
  std::int64_t available_bytes = 0;  // where the model lies, now
  /// One line for the log.
  std::string text() const;
};

/// Bytes that a forward pass of `rows` rows keeps for its backward, within a twentieth of what Activations comes to.
std::int64_t activation_bytes(const Architecture& architecture, at::ScalarType dtype, at::DeviceType device, std::int64_t rows,
                              Recompute recompute);

/// What learners.recompute comes to for a model whose optimizer and gradients are there already. auto takes the first of none,
/// activations and block that needs at most half of the memory available, of which ranks on CPUs are taken to have equal shares.
MemoryPlan plan_memory(const Config& config, const Parameters& model, const Communicator& communicator);

}  // namespace troupe
