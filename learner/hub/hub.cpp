#include "learner/hub/hub.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "common/base/error.h"
#include "common/messages/frame.h"
#include "learner/hub/hub_core.h"

namespace troupe {
namespace {

/// The socket is looked at at least this often, so that what the learner's thread posts leaves soon.
constexpr std::int64_t kPollMs = 2;
constexpr std::int64_t kGoodbyeMs = 2000;
/// A wait of the learner is explained after the first, then each further span.
constexpr std::int64_t kFirstExplanationMs = 10'000;
constexpr std::int64_t kExplanationEveryMs = 60'000;

}  // namespace

struct Hub::Impl {
  Impl(HubOptions options, std::unique_ptr<HubChannel> channel_, Ledger& ledger, PromptSource train,
       PromptSource held_out, Logger logger_)
      : channel(std::move(channel_)),
        core(std::move(options), *channel, ledger, std::move(train), std::move(held_out), logger_),
        logger(logger_),
        thread([this] { run(); }) {}

  ~Impl() { stop(); }

  void stop() {
    stopping = true;
    if (thread.joinable()) thread.join();
  }

  /// The hub's thread.
  void run() {
    try {
      while (!stopping) {
        const auto incoming = channel->receive(Deadline::after_ms(kPollMs));
        const std::lock_guard lock(mutex);
        if (incoming) core.handle(*incoming, clock.now_ms());
        core.advance(clock.now_ms());
        core.flush();
        changed.notify_all();
      }
    } catch (const std::exception& e) {
      logger.error(std::string("the hub's thread ends: ") + e.what());
      const std::lock_guard lock(mutex);
      error = std::current_exception();
      changed.notify_all();
    }
  }

  /// With the lock held: calls `attempt` after each event until it gives a value, or the deadline passes.
  template <class Attempt>
  auto wait(std::unique_lock<std::mutex>& lock, Deadline deadline, Attempt attempt) -> decltype(attempt()) {
    for (;;) {
      if (error) std::rethrow_exception(error);
      check(!closed, "the hub was used after its close");
      if (auto result = attempt()) {
        waiting_since_ms.reset();
        return result;
      }
      if (deadline.expired()) {
        explain_wait();
        return {};
      }
      changed.wait_for(lock, std::chrono::milliseconds(deadline.remaining_ms()));
    }
  }

  void explain_wait() {
    const std::int64_t now_ms = clock.now_ms();
    if (!waiting_since_ms) {
      waiting_since_ms = now_ms;
      next_explanation_ms = now_ms + kFirstExplanationMs;
    }
    if (now_ms < next_explanation_ms) return;
    next_explanation_ms = now_ms + kExplanationEveryMs;
    const std::string what = core.status(now_ms).waiting_for;
    if (!what.empty()) {
      logger.info("waiting for " + std::to_string((now_ms - *waiting_since_ms) / 1000) + " s: " + what);
    }
  }

  std::unique_lock<std::mutex> use() {
    std::unique_lock lock(mutex);
    if (error) std::rethrow_exception(error);
    check(!closed, "the hub was used after its close");
    return lock;
  }

  const SteadyClock clock;
  std::unique_ptr<HubChannel> channel;
  mutable std::mutex mutex;
  std::condition_variable changed;
  HubCore core;  // under the mutex; its channel only by the hub's thread
  Logger logger;
  std::exception_ptr error;
  bool closed = false;
  std::optional<std::int64_t> waiting_since_ms;
  std::int64_t next_explanation_ms = 0;
  std::atomic<bool> stopping = false;
  std::thread thread;  // last: it uses all of the above
};

Hub::Hub(HubOptions options, std::unique_ptr<HubChannel> channel, Ledger& ledger, PromptSource train,
         PromptSource held_out, Logger logger)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(channel), ledger, std::move(train),
                                   std::move(held_out), std::move(logger))) {}

Hub::~Hub() = default;

void Hub::publish(PublishedWeights weights) {
  const auto lock = impl_->use();
  impl_->core.publish(std::move(weights));
}

std::optional<std::vector<GroupRecord>> Hub::next_batch(std::int64_t step, Deadline deadline) {
  auto lock = impl_->use();
  return impl_->wait(lock, deadline, [&] { return impl_->core.take_batch(step); });
}

std::optional<std::vector<GroupRecord>> Hub::evaluate(std::uint64_t version, int prompts, Deadline deadline) {
  auto lock = impl_->use();
  return impl_->wait(lock, deadline, [&] { return impl_->core.take_evaluation(version, prompts); });
}

void Hub::forget_restored() {
  const auto lock = impl_->use();
  impl_->core.forget_restored();
}

void Hub::step_trained(StepTrained step) {
  const auto lock = impl_->use();
  step.unix_s = unix_time_s();
  impl_->core.append(step);
}

void Hub::record(const LedgerRecord& record) {
  const auto lock = impl_->use();
  impl_->core.append(record);
  impl_->core.sync();
}

void Hub::sync() {
  const auto lock = impl_->use();
  impl_->core.sync();
}

void Hub::read_ledger(const std::function<void(const LedgerState&)>& reader) const {
  const auto lock = impl_->use();
  reader(impl_->core.ledger());
}

std::vector<WeightTaker> Hub::weight_takers() const {
  const auto lock = impl_->use();
  return impl_->core.weight_takers();
}

void Hub::tell(const PeerId& peer, std::string frame) {
  const auto lock = impl_->use();
  impl_->core.post(peer, std::move(frame));
}

bool Hub::send_to_learner(std::uint32_t rank, const StepShard& shard, Deadline deadline) {
  const std::string frame = encode(shard);
  auto lock = impl_->use();
  std::optional<PeerId> sent_to;
  // Posted once to the rank's present registration, again where it came back under another one before it was sent.
  return impl_->wait(lock, deadline, [&] {
    const auto peer = impl_->core.learner(rank);
    if (!peer) return false;
    if (sent_to != peer) {
      impl_->core.post(*peer, frame);
      sent_to = peer;
      return false;
    }
    return impl_->core.delivered(*peer);
  });
}

HubStatus Hub::status() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->core.status(impl_->clock.now_ms());
}

void Hub::close(int exit_code, const std::string& reason, bool finished) {
  impl_->stop();
  if (impl_->closed) return;
  impl_->closed = true;
  impl_->core.say_goodbye(exit_code, reason, Deadline::after_ms(kGoodbyeMs));
  if (impl_->error) return;  // it may be the ledger that failed
  if (finished) impl_->core.retire_open_groups();
  impl_->core.sync();
}

}  // namespace troupe
