#pragma once

#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

namespace troupe {

/// Processes with a GPU each, of which the first (rank 0) sends weights to the others. One thread at a time.
class BroadcastGroup {
 public:
  virtual ~BroadcastGroup() = default;  // waits for nobody

  /// flat := rank 0's, of the same size on all. Every member calls it for the same versions in the same order; it is done here
  /// where it returns. @throws DeviceError naming the member where it is not within the deadline; the group is of no use then.
  virtual void broadcast(const at::Tensor& flat) = 0;
};

/// A place in a group that is being made.
struct BroadcastPlace {
  std::string id;  // new_broadcast_id() of rank 0
  int rank = 0;
  int size = 0;
  bool operator==(const BroadcastPlace&) const = default;
};

/// Makes a group of place.size processes, over NCCL between the GPUs `device` of each. Returns when all have come. @throws DeviceError
/// where one is missing at the deadline, which each broadcast then has too.
std::unique_ptr<BroadcastGroup> join_broadcast_group(const BroadcastPlace& place, at::Device device, double deadline_s);

/// Made on rank 0 and brought to the others.
std::string new_broadcast_id();

/// A name that no other GPU has; "" for a device that is none.
std::string gpu_name(at::Device device);

}  // namespace troupe
