#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "learner/sharded_optimizer.h"

namespace troupe {

/// A step of the run as final_hash sees it: its groups in batch order, each with its number and content hash.
struct TrainedStep {
  std::int64_t step = 0;
  std::vector<std::pair<std::uint64_t, std::string>> groups;
};

/// XXH3-128 over the tensors of `flat` ([total], fp32, laid out as `layout`) in the order of their names, without the
/// alignment gaps: 32 hex digits.
std::string weights_hash(const ParameterLayout& layout, const at::Tensor& flat);

/// Weights, bit for bit: the hash of all, and one of each tensor, so that what differs has a name.
struct WeightsDigest {
  std::string hash;                    // weights_hash
  std::vector<std::uint64_t> tensors;  // XXH3-64 of each tensor, in the order of the layout
  bool operator==(const WeightsDigest&) const = default;
};
WeightsDigest weights_digest(const ParameterLayout& layout, const at::Tensor& flat);

/// The same of the fp32 master parameters; on rank 0, empty on the others. Collective.
WeightsDigest weights_digest(ShardedOptimizer& optimizer);

/// PROTOCOL.md's final_hash: XXH3-128 over the master parameters, then the first, then the second moments, each as
/// logical fp32 tensors in the order of their names, then for each trained step its number and for each of its groups
/// the number (u64) and the 32 hex digits of its content hash. On rank 0, "" on the others. Collective.
std::string final_hash(ShardedOptimizer& optimizer, std::span<const TrainedStep> steps);

}  // namespace troupe
