#include "common/transport/in_memory_channel.h"

#include <map>
#include <mutex>
#include <utility>

#include "common/base/bounded_queue.h"

namespace troupe {

struct InMemoryHubChannel::Shared {
  explicit Shared(std::size_t capacity_) : capacity(capacity_), inbox(capacity_) {}

  const std::size_t capacity;
  BoundedQueue<Incoming> inbox;
  std::mutex mutex;
  std::map<PeerId, std::shared_ptr<BoundedQueue<std::string>>> peers;  // each shared with its peer's channel
};

class InMemoryHubChannel::Peer final : public PeerChannel {
 public:
  Peer(PeerId id, std::shared_ptr<Shared> shared)
      : id_(std::move(id)), shared_(std::move(shared)), queue_(std::make_shared<BoundedQueue<std::string>>(shared_->capacity)) {
    const std::lock_guard lock(shared_->mutex);
    shared_->peers[id_] = queue_;
  }
  ~Peer() override {
    const std::lock_guard lock(shared_->mutex);
    const auto mine = shared_->peers.find(id_);
    if (mine != shared_->peers.end() && mine->second == queue_) shared_->peers.erase(mine);
  }

  bool send(std::string frame, Deadline deadline) override {
    Incoming incoming{id_, std::move(frame)};
    return shared_->inbox.push(incoming, deadline);
  }
  std::optional<std::string> receive(Deadline deadline) override { return queue_->pop(deadline); }

 private:
  PeerId id_;
  std::shared_ptr<Shared> shared_;
  std::shared_ptr<BoundedQueue<std::string>> queue_;  // shared with the hub's table
};

InMemoryHubChannel::InMemoryHubChannel(std::size_t capacity) : shared_(std::make_shared<Shared>(capacity)) {}

InMemoryHubChannel::~InMemoryHubChannel() { shared_->inbox.close(); }

std::unique_ptr<PeerChannel> InMemoryHubChannel::connect(const PeerId& id) { return std::make_unique<Peer>(id, shared_); }

SendResult InMemoryHubChannel::send(const PeerId& peer, std::string frame) {
  const std::lock_guard lock(shared_->mutex);
  const auto found = shared_->peers.find(peer);
  if (found == shared_->peers.end()) return SendResult::kGone;
  return found->second->push(frame, Deadline::after_ms(0)) ? SendResult::kSent : SendResult::kFull;
}

std::optional<Incoming> InMemoryHubChannel::receive(Deadline deadline) { return shared_->inbox.pop(deadline); }

}  // namespace troupe
