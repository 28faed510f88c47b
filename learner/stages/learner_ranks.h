#pragma once

#include <memory>

#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/model/tensor_cut.h"
#include "learner/shard_ranks.h"

namespace troupe {

/// How a learner's ranks work together: groups of learners.tensor_parallel consecutive ones hold a model together, and train one part of a
/// step's data. One thread at a time.
class LearnerRanks {
 public:
  /// Refers to `communicator`, which is used through this alone until it is gone. Collective where learners.tensor_parallel is above 1.
  /// @throws ConfigError where that does not divide the number of ranks.
  LearnerRanks(const Config& config, Communicator& communicator);

  /// All of them; above zero_stage 1 on CPUs beside what the rank computes, unless ranks hold a model together.
  Communicator& all() { return queue_ ? *queue_ : communicator_; }
  /// Those that have the same part of a model, each with data of its own.
  Communicator& data() { return data_ ? *data_ : all(); }
  ShardRanks shards() { return {all(), data()}; }
  /// Those that hold this rank's model with it; null where each rank has one by itself.
  const std::shared_ptr<TensorGroup>& tensor() const { return tensor_; }

 private:
  Communicator& communicator_;
  std::unique_ptr<Communicator> queue_, data_;
  std::shared_ptr<TensorGroup> tensor_;  // shared with the cuts of the rank's models
};

}  // namespace troupe
