#include "common/collective/thread_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/collective/rank_order_communicator.h"

namespace troupe {
namespace {

/// What one rank holds out to another. The bytes stay the sender's; it waits until they are taken.
struct Mailbox {
  enum class State { kEmpty, kPosted, kBeingTaken };
  State state = State::kEmpty;
  PieceHeader header;
  std::span<const std::byte> bytes;
};

}  // namespace

struct ThreadWorld::State {
  State(int world_size, double deadline)
      : size(world_size),
        deadline_s(deadline),
        mailboxes(static_cast<std::size_t>(world_size) * static_cast<std::size_t>(world_size)),
        left(static_cast<std::size_t>(world_size), false) {}

  Mailbox& mailbox(int from, int to) {
    return mailboxes[static_cast<std::size_t>(from) * static_cast<std::size_t>(size) + static_cast<std::size_t>(to)];
  }

  const int size;
  const double deadline_s;
  std::mutex mutex;  // guards all below
  std::condition_variable changed;
  std::vector<Mailbox> mailboxes;  // [from][to]
  std::vector<bool> left;
};

namespace {

class ThreadCommunicator final : public RankOrderCommunicator {
 public:
  ThreadCommunicator(std::shared_ptr<ThreadWorld::State> world, int rank)
      : RankOrderCommunicator(rank, world->size, world->deadline_s), world_(std::move(world)) {}

  ~ThreadCommunicator() override {
    const std::lock_guard lock(world_->mutex);
    world_->left[static_cast<std::size_t>(rank())] = true;
    world_->changed.notify_all();
  }

 private:
  void exchange(const PieceHeader& header, std::span<const Outgoing> out, std::span<const Incoming> in) override {
    std::unique_lock lock(world_->mutex);
    for (const Outgoing& outgoing : out) {
      world_->mailbox(rank(), outgoing.peer) = {Mailbox::State::kPosted, header, outgoing.bytes};
    }
    world_->changed.notify_all();
    try {
      move_all(lock, header, out, in);
    } catch (...) {
      withdraw(lock, out);
      throw;
    }
  }

  void move_all(std::unique_lock<std::mutex>& lock, const PieceHeader& header, std::span<const Outgoing> out,
                std::span<const Incoming> in) {
    const std::int64_t start_ms = SteadyClock().now_ms();
    std::vector<bool> received(in.size(), false);
    for (;;) {
      bool moved = false;
      std::vector<int> behind;
      for (std::size_t i = 0; i < in.size(); ++i) {
        if (received[i]) continue;
        received[i] = take(lock, header, in[i]);
        if (received[i])
          moved = true;
        else
          behind.push_back(in[i].peer);
      }
      for (const Outgoing& outgoing : out) {
        if (world_->mailbox(rank(), outgoing.peer).state != Mailbox::State::kEmpty) behind.push_back(outgoing.peer);
      }
      if (behind.empty()) return;
      if (moved) continue;  // the lock was let go: look again before waiting
      std::sort(behind.begin(), behind.end());
      behind.erase(std::unique(behind.begin(), behind.end()), behind.end());
      fail_if_gone(behind);
      const double next_s = require_patience(behind, static_cast<double>(SteadyClock().now_ms() - start_ms) / 1000);
      world_->changed.wait_for(lock, std::chrono::duration<double>(next_s));
    }
  }

  /// Copies what the peer holds out, if it does; the copy runs without the lock.
  bool take(std::unique_lock<std::mutex>& lock, const PieceHeader& header, const Incoming& incoming) {
    Mailbox& mailbox = world_->mailbox(incoming.peer, rank());
    if (mailbox.state != Mailbox::State::kPosted) return false;
    check_header(header, incoming.peer, mailbox.header);
    check(mailbox.bytes.size() == incoming.bytes.size(), "ranks cut an operation into different pieces");
    mailbox.state = Mailbox::State::kBeingTaken;
    lock.unlock();
    if (!incoming.bytes.empty()) std::memcpy(incoming.bytes.data(), mailbox.bytes.data(), incoming.bytes.size());
    lock.lock();
    mailbox.state = Mailbox::State::kEmpty;
    world_->changed.notify_all();
    return true;
  }

  void fail_if_gone(const std::vector<int>& behind) const {
    std::vector<int> gone;
    for (const int peer : behind) {
      if (world_->left[static_cast<std::size_t>(peer)]) gone.push_back(peer);
    }
    if (!gone.empty()) fail_behind(gone, "and nothing will come: it has left");
  }

  void withdraw(std::unique_lock<std::mutex>& lock, std::span<const Outgoing> out) {
    for (const Outgoing& outgoing : out) {
      Mailbox& mailbox = world_->mailbox(rank(), outgoing.peer);
      world_->changed.wait(lock, [&] { return mailbox.state != Mailbox::State::kBeingTaken; });  // as long as a copy
      mailbox = {};
    }
  }

  std::shared_ptr<ThreadWorld::State> world_;  // shared by the ranks' communicators
};

}  // namespace

ThreadWorld::ThreadWorld(int size, double deadline_s) : state_(std::make_shared<State>(size, deadline_s)) {}

std::unique_ptr<Communicator> ThreadWorld::communicator(int rank) const {
  return std::make_unique<ThreadCommunicator>(state_, rank);
}

}  // namespace troupe
