#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "common/transport/channel.h"

namespace troupe {

/// Frames that wait for their peers to read. `post` never blocks; `flush` sends what the channel takes, in order for
/// each peer.
class Outbox {
 public:
  explicit Outbox(HubChannel& channel) : channel_(channel) {}

  void post(const PeerId& peer, std::string frame) { waiting_[peer].push_back(std::move(frame)); }

  /// A peer that cannot be reached: gone, or more frames wait for it than it may leave unread.
  struct Lost {
    PeerId peer;
    std::string reason;
  };
  /// Only from the thread that owns the channel. What was waiting for a lost peer is dropped.
  std::vector<Lost> flush();

  bool empty() const { return waiting_.empty(); }
  bool empty(const PeerId& peer) const { return !waiting_.contains(peer); }

 private:
  HubChannel& channel_;
  std::map<PeerId, std::deque<std::string>> waiting_;  // no empty queues
};

}  // namespace troupe
