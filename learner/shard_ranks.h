#pragma once

#include <memory>
#include <optional>

#include "common/collective/communicator.h"
#include "learner/device_ranks.h"
#include "learner/shard_map.h"

namespace troupe {

/// The ranks that a ShardMap's units are shared out over. Refers to communicators.
class ShardRanks {
 public:
  /// Each has a model by itself.
  ShardRanks(Communicator& all) : ShardRanks(all, all) {}
  /// `data`: those of `all` that have the same part of a model that ranks hold together.
  ShardRanks(Communicator& all, Communicator& data) : all_(&all), data_(&data) {}

  Communicator& all() const { return *all_; }
  Communicator& data() const { return *data_; }
  /// Those that share out a unit.
  Communicator& of(const ShardMap::Unit& unit) const { return unit.ranks == all_->size() ? *all_ : *data_; }

 private:
  Communicator* all_;
  Communicator* data_;
};

/// Their collectives on the memory of the GPUs.
class ShardDevices {
 public:
  explicit ShardDevices(const ShardRanks& ranks) : ranks_(ranks) {}

  /// Of those that share out a unit, who have met since the last settle; null where collectives go over the CPU. Collective.
  DeviceRanks* of(const ShardMap::Unit& unit);
  /// Waits for what is under way, with a deadline. @throws DeviceError.
  void settle();

 private:
  struct Group {
    std::optional<std::unique_ptr<DeviceRanks>> devices;
    bool under_way = false;  // since the last settle
  };

  ShardRanks ranks_;
  Group all_, data_;
};

}  // namespace troupe
