#include "learner/shard_ranks.h"

#include <utility>

namespace troupe {

DeviceRanks* ShardDevices::of(const ShardMap::Unit& unit) {
  Communicator& ranks = ranks_.of(unit);
  Group& group = &ranks == &ranks_.all() ? all_ : data_;
  if (!group.devices) group.devices = nccl_ranks(ranks);
  if (*group.devices && !std::exchange(group.under_way, true)) (*group.devices)->meet();
  return group.devices->get();
}

void ShardDevices::settle() {
  for (Group* const group : {&all_, &data_}) {
    if (std::exchange(group->under_way, false)) (*group->devices)->wait();
  }
}

}  // namespace troupe
