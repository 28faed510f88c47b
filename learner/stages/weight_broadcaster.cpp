#include "learner/stages/weight_broadcaster.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <functional>
#include <set>
#include <utility>

#include "common/messages/frame.h"

namespace troupe {
namespace {

/// Those with a GPU of their own, the latest offers first: NCCL takes a GPU once, and of two on one the earlier may be dead.
std::vector<WeightTaker> on_own_gpus(std::vector<WeightTaker> takers, const std::string& own) {
  std::ranges::sort(takers, std::greater<>(), &WeightTaker::offer);
  std::vector<WeightTaker> chosen;
  std::set<std::string> taken = {own};
  for (const WeightTaker& taker : takers) {
    if (taken.insert(taker.gpu).second) chosen.push_back(taker);
  }
  return chosen;
}

}  // namespace

WeightBroadcaster::WeightBroadcaster(Options options, Logger logger) : options_(std::move(options)), logger_(std::move(logger)) {}

std::string WeightBroadcaster::names() const {
  std::string all;
  for (const WeightTaker& taker : takers_) all += (all.empty() ? "" : ", ") + taker.name;
  return all;
}

std::future<void> WeightBroadcaster::send(const at::Tensor& flat, std::uint64_t version) {
  if (!announce(version)) {
    std::promise<void> nothing;
    nothing.set_value();
    return nothing.get_future();
  }
  return std::async(std::launch::async, [this, flat] { broadcast(flat); });
}

/// Whether the version is sent.
bool WeightBroadcaster::announce(std::uint64_t version) {
  if (options_.gpu.empty()) return false;
  const bool ready = group_is_ready();
  if (forming_.valid()) return false;  // one at a time
  std::vector<WeightTaker> takers = on_own_gpus(options_.takers(), options_.gpu);
  if (takers != takers_) {
    form(std::move(takers));
    return false;
  }
  if (!ready) return false;
  for (const WeightTaker& taker : takers_) options_.tell(taker.peer, encode(WeightBroadcast{number_, version}));
  return true;
}

/// Begins to make a group of them.
void WeightBroadcaster::form(std::vector<WeightTaker> takers) {
  group_.reset();
  takers_ = std::move(takers);
  if (takers_.empty()) return;
  ++number_;
  BroadcastPlace place{options_.new_id(), 0, static_cast<int>(takers_.size()) + 1};
  for (const WeightTaker& taker : takers_) {
    const auto rank = static_cast<std::uint32_t>(&taker - takers_.data()) + 1;
    options_.tell(taker.peer, encode(WeightGroup{number_, place.id, rank, static_cast<std::uint32_t>(place.size)}));
  }
  forming_ = std::async(std::launch::async, [join = options_.join, place] { return join(place); });
}

/// Takes the group that was being made, where it is. One that failed is not tried again before its members offer anew.
bool WeightBroadcaster::group_is_ready() {
  if (forming_.valid() && forming_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
    try {
      group_ = forming_.get();
      logger_.info("weights go to " + names() + " by NCCL, group=" + std::to_string(number_));
    } catch (const std::exception& error) {
      logger_.warning("weights to " + names() + " by NCCL: group " + std::to_string(number_) + " was not made, they come otherwise: " +
                      error.what());
    }
  }
  return group_ != nullptr;
}

/// A failure is logged, and ends the group.
void WeightBroadcaster::broadcast(const at::Tensor& flat) {
  try {
    group_->broadcast(flat);
  } catch (const std::exception& error) {
    logger_.warning("weights to " + names() + " by NCCL: group " + std::to_string(number_) + " is given up, they come otherwise: " +
                    error.what());
    group_.reset();
  }
}

}  // namespace troupe
