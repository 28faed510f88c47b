#include "actors/broadcast_receiver.h"

#include <exception>
#include <utility>

#include "common/base/error.h"
#include "common/base/fault.h"

namespace troupe {
namespace {

constexpr std::size_t kMostWaiting = 1024;  // a hub that says more than this meanwhile is none of ours

}  // namespace

BroadcastReceiver::BroadcastReceiver(std::function<std::unique_ptr<BroadcastGroup>(const WeightGroup&)> join,
                                     std::function<Parameters()> room)
    : join_(std::move(join)), room_(std::move(room)), tasks_(kMostWaiting), outcomes_(kMostWaiting), thread_([this] { run(); }) {}

BroadcastReceiver::~BroadcastReceiver() {
  tasks_.close();
  outcomes_.close();
  thread_.join();
}

void BroadcastReceiver::give(Task task) {
  if (!tasks_.push(task, Deadline::after_ms(0))) {
    throw ProtocolError("more than " + std::to_string(kMostWaiting) + " broadcasts of weights were announced at once");
  }
}

void BroadcastReceiver::run() {
  while (!tasks_.closed()) {
    const std::optional<Task> task = tasks_.pop(Deadline::after_s(1));
    if (!task || tasks_.closed()) continue;
    std::optional<Outcome> outcome = std::visit([this](const auto& work) { return work_on(work); }, *task);
    if (outcome) outcomes_.push(*outcome, Deadline::after_s(1));
  }
}

std::optional<BroadcastReceiver::Outcome> BroadcastReceiver::work_on(const WeightGroup& group) {
  group_.reset();  // one is left before another is made
  try {
    group_ = join_(group);
    group_number_ = group.group;
    return std::nullopt;
  } catch (const std::exception& error) {
    return Outcome{std::nullopt, std::nullopt, error.what()};
  }
}

std::optional<BroadcastReceiver::Outcome> BroadcastReceiver::work_on(const WeightBroadcast& broadcast) {
  if (!group_ || broadcast.group != group_number_) {
    return Outcome{broadcast.version, std::nullopt, "this actor is not in group " + std::to_string(broadcast.group)};
  }
  try {
    Parameters parameters = room_();
    fault::point("actor.weights.inside");
    group_->broadcast(parameters.flat());
    return Outcome{broadcast.version, std::move(parameters), ""};
  } catch (const std::exception& error) {
    group_.reset();
    return Outcome{broadcast.version, std::nullopt, error.what()};
  }
}

}  // namespace troupe
