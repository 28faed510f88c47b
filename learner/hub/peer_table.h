#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/messages/control.h"
#include "common/transport/channel.h"

namespace troupe {

/// A registered peer as the hub sees it.
struct Peer {
  Hello hello;
  std::uint32_t credit = 0;        // leases or tasks that it can hold at once
  std::set<std::uint64_t> leases;  // those that it holds
  std::int64_t last_heard_ms = 0;
  std::int64_t not_before_ms = 0;    // gets no new lease earlier: it stalled or sent a wrong result
  int faults = 0;                    // of that kind since its last good result
  std::uint64_t policy_version = 0;  // as its heartbeat said
  double tokens_per_s = 0;           // likewise
  double weights_stall_s = 0;        // likewise
  std::string gpu;                   // on which it takes weights over NCCL, as its WeightMember said
  std::uint64_t gpu_offer = 0;       // number of that message among all peers'

  /// "actor 1 @host pid 123".
  std::string describe() const { return hello.name + " pid " + std::to_string(hello.pid); }
};

/// The registered peers: who lives, who has room. One thread at a time.
class PeerTable {
 public:
  /// Adds or replaces the peer.
  Peer& add(const PeerId& id, const Hello& hello, std::int64_t now_ms);
  Peer* find(const PeerId& id);
  const Peer* find(const PeerId& id) const;
  void remove(const PeerId& id) { peers_.erase(id); }

  /// Another registration of the same process: equal role, name, host and pid. A learner rank: equal rank.
  std::optional<PeerId> twin_of(const PeerId& id, const Hello& hello) const;
  /// The peer of this role that should get the next lease: fewest faults, then fewest leases, then name.
  std::optional<PeerId> with_room(Role role, std::int64_t now_ms) const;
  /// Peers that were not heard since `limit_ms` before `now_ms`.
  std::vector<PeerId> silent(std::int64_t now_ms, std::int64_t limit_ms) const;
  int count(Role role) const;
  const std::map<PeerId, Peer>& all() const { return peers_; }

 private:
  std::map<PeerId, Peer> peers_;
};

}  // namespace troupe
