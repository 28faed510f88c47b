#include "learner/hub/peer_table.h"

#include <algorithm>
#include <tuple>

namespace troupe {

Peer& PeerTable::add(const PeerId& id, const Hello& hello, std::int64_t now_ms) {
  Peer& peer = peers_[id] = Peer{};
  peer.hello = hello;
  peer.last_heard_ms = now_ms;
  return peer;
}

Peer* PeerTable::find(const PeerId& id) {
  const auto found = peers_.find(id);
  return found == peers_.end() ? nullptr : &found->second;
}
const Peer* PeerTable::find(const PeerId& id) const {
  const auto found = peers_.find(id);
  return found == peers_.end() ? nullptr : &found->second;
}

std::optional<PeerId> PeerTable::twin_of(const PeerId& id, const Hello& hello) const {
  for (const auto& [other_id, other] : peers_) {
    const Hello& h = other.hello;
    if (other_id == id || h.role != hello.role) continue;
    const bool same_process = h.name == hello.name && h.host == hello.host && h.pid == hello.pid;
    const bool same_rank = hello.role == Role::kLearner && h.rank == hello.rank;
    if (same_process || same_rank) return other_id;
  }
  return std::nullopt;
}

std::optional<PeerId> PeerTable::with_room(Role role, std::int64_t now_ms) const {
  const auto rank_of = [](const Peer& p) {
    return std::tuple(p.faults, p.leases.size(), std::string_view(p.hello.name));
  };
  const std::pair<const PeerId, Peer>* best = nullptr;
  for (const auto& entry : peers_) {
    const Peer& peer = entry.second;
    if (peer.hello.role != role || peer.leases.size() >= peer.credit || peer.not_before_ms > now_ms) continue;
    if (best == nullptr || rank_of(peer) < rank_of(best->second)) best = &entry;
  }
  if (best == nullptr) return std::nullopt;
  return best->first;
}

std::vector<PeerId> PeerTable::silent(std::int64_t now_ms, std::int64_t limit_ms) const {
  std::vector<PeerId> ids;
  for (const auto& [id, peer] : peers_) {
    if (now_ms - peer.last_heard_ms >= limit_ms) ids.push_back(id);
  }
  return ids;
}

int PeerTable::count(Role role) const {
  return static_cast<int>(
      std::count_if(peers_.begin(), peers_.end(), [&](const auto& entry) { return entry.second.hello.role == role; }));
}

}  // namespace troupe
