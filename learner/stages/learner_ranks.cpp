#include "learner/stages/learner_ranks.h"

#include "common/collective/collective_queue.h"
#include "learner/stages/start_model.h"
#include "learner/step_gradients.h"
#include "learner/tensor_ranks.h"

namespace troupe {

LearnerRanks::LearnerRanks(const Config& config, Communicator& communicator) : communicator_(communicator) {
  const int together = config.learners.tensor_parallel, rank = communicator.rank();
  config.validate_ranks(communicator.size());
  if (together > 1) {
    tensor_ = std::make_shared<TensorRanks>(communicator.split(rank / together));
    data_ = communicator.split(rank % together);
  } else if (zero_stage_of(config, communicator) > 1 && learner_device(config, communicator).is_cpu()) {
    queue_ = std::make_unique<CollectiveQueue>(communicator);
  }
}

}  // namespace troupe
