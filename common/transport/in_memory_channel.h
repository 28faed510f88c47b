#pragma once

#include <cstddef>
#include <memory>

#include "common/transport/channel.h"

namespace troupe {

/// Hub and peers in one process, for tests: the same promises as over ZeroMQ. The hub's channel and each peer's may be used by
/// different threads.
class InMemoryHubChannel final : public HubChannel {
 public:
  /// `capacity` frames wait for the hub, and as many for each peer.
  explicit InMemoryHubChannel(std::size_t capacity = 256);
  /// Afterwards peers find nobody: their sends fail.
  ~InMemoryHubChannel() override;

  /// A connected peer named `id`; gone for the hub when it is destroyed. Any thread.
  std::unique_ptr<PeerChannel> connect(const PeerId& id);

  SendResult send(const PeerId& peer, std::string frame) override;
  std::optional<Incoming> receive(Deadline deadline) override;
  std::string endpoint() const override { return "memory"; }

 private:
  struct Shared;
  class Peer;
  std::shared_ptr<Shared> shared_;  // shared by the hub's channel and its peers'
};

}  // namespace troupe
