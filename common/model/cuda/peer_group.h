#pragma once

#include <memory>

#include "common/model/thread_ranks.h"

namespace troupe {

/// Ranks of ThreadRanks whose models lie on GPUs, each rank's on one of its own or with others on the same, that read each other's
/// memory.
class PeerRanks {
 public:
  /// @throws ConfigError for more than 8.
  explicit PeerRanks(int count);

  /// The rank's view of the others, for its TensorCut, in its thread and on the GPU that is current there. Sums are added in rank
  /// order; in the order of the stream, and within the capture of a CUDA graph, where each rank has a GPU of its own, in one kernel.
  /// Collective.
  /// @throws ConfigError naming two GPUs of which one cannot read the other's memory.
  std::shared_ptr<TensorGroup> group(ThreadRanks& ranks, int rank);

 private:
  struct Places;
  class Group;
  std::shared_ptr<Places> places_;  // shared by the ranks' groups
};

}  // namespace troupe
