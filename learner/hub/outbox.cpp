#include "learner/hub/outbox.h"

namespace troupe {
namespace {

/// A peer has at most its credit of leases and a heartbeat's answer now and then outstanding; this many mean that it
/// does not read.
constexpr std::size_t kUnreadFrames = 4096;

}  // namespace

std::vector<Outbox::Lost> Outbox::flush() {
  std::vector<Lost> lost;
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    auto& [peer, frames] = *it;
    SendResult result = SendResult::kSent;
    while (!frames.empty() && result == SendResult::kSent) {
      // The frame stays in front until it is sent: a refused one is not lost.
      result = channel_.send(peer, frames.front());
      if (result == SendResult::kSent) frames.pop_front();
    }
    if (result == SendResult::kGone) lost.push_back({peer, "gone, its connection is closed"});
    if (frames.size() > kUnreadFrames) lost.push_back({peer, "gone, it does not read"});
    const bool drop = frames.empty() || (!lost.empty() && lost.back().peer == peer);
    it = drop ? waiting_.erase(it) : std::next(it);
  }
  return lost;
}

}  // namespace troupe
