#include "learner/device_ranks.h"

// A build without CUDA has no parameters on a GPU, so nobody asks.

namespace troupe {

std::unique_ptr<DeviceRanks> nccl_ranks(Communicator&) { return nullptr; }

}  // namespace troupe
