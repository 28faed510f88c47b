#include "rewarders/rewarder_loop.h"

#include <algorithm>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "common/base/bounded_queue.h"
#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/config/config.h"
#include "common/messages/frame.h"
#include "common/transport/peer_session.h"
#include "rewarders/reward.h"
#include "rewarders/verifier.h"

namespace troupe {
namespace {

constexpr int kExitResumable = 75;
constexpr std::int64_t kPollMs = 20;
constexpr std::int64_t kBusyPollMs = 1;  // while scores are on their way: the learner may wait for just these

/// Verifier processes, each fed by a thread of its own, between a queue of tasks and one of scores.
class ScoringPool {
 public:
  ScoringPool(const std::vector<RewardConfig>& rewards, const RewarderOptions& options, const Logger& logger)
      : timeout_s_(options.score_timeout_s),
        tasks_(static_cast<std::size_t>(2 * options.verifiers)),
        scores_(static_cast<std::size_t>(4 * options.verifiers)) {
    for (int i = 0; i < options.verifiers; ++i) {
      processes_.push_back(std::make_unique<VerifierProcess>(rewards, options.verifier_command));
    }
    for (const std::string& line : processes_.front()->about()) logger.info(line);
    for (auto& process : processes_) threads_.emplace_back([this, &process] { work(*process); });
  }

  ~ScoringPool() {
    tasks_.close();
    scores_.close();
    for (auto& process : processes_) process->cancel();
    for (std::thread& thread : threads_) thread.join();
  }

  bool submit(ScoreTask& task) {
    const std::uint64_t lease_id = task.lease_id;
    const std::lock_guard lock(mutex_);
    const bool taken = tasks_.push(task, Deadline::after_ms(0));
    if (taken) in_work_[lease_id] = 0;
    return taken;
  }
  std::optional<ScoredGroup> finished() {
    for (;;) {
      auto scored = scores_.pop(Deadline::after_ms(0));
      if (!scored && scores_.closed() && failure_) std::rethrow_exception(failure_);
      if (!scored) return scored;
      const std::lock_guard lock(mutex_);
      in_work_.erase(scored->lease_id);
      if (revoked_.erase(scored->lease_id) == 0) return scored;
    }
  }
  bool idle() {
    const std::lock_guard lock(mutex_);
    return in_work_.empty();
  }
  /// How many completions of each task in work are scored.
  std::vector<LeaseProgress> progress() {
    const std::lock_guard lock(mutex_);
    std::vector<LeaseProgress> progress;
    for (const auto& [lease_id, scored] : in_work_) progress.push_back({lease_id, scored});
    return progress;
  }

  /// The completions of this task that are not scored yet are left alone, and its scores are not handed out.
  void revoke(std::uint64_t lease_id) {
    const std::lock_guard lock(mutex_);
    if (in_work_.contains(lease_id)) revoked_.insert(lease_id);
  }

 private:
  void work(VerifierProcess& process) {
    try {
      for (;;) {
        auto task = tasks_.pop(Deadline::after_s(1));
        if (!task && tasks_.closed()) return;
        if (!task) continue;
        ScoredGroup scored = score(process, *task);
        while (!scores_.push(scored, Deadline::after_s(1))) {
          if (scores_.closed()) return;
        }
      }
    } catch (...) {
      failure_ = std::current_exception();
      scores_.close();
    }
  }

  bool is_revoked(std::uint64_t lease_id) {
    const std::lock_guard lock(mutex_);
    return revoked_.contains(lease_id);
  }

  ScoredGroup score(VerifierProcess& process, const ScoreTask& task) {
    const std::int64_t start_ms = SteadyClock().now_ms();
    ScoredGroup scored{task.lease_id, task.incarnation, task.group, task.purpose, {}, 0};
    for (std::size_t i = 0; i < task.completions.size() && !is_revoked(task.lease_id);) {
      std::vector<VerifierProcess::Item> items;
      for (; i < task.completions.size() && items.size() < process.batch(); ++i) {
        items.push_back({task.row, task.completions[i], task.token_counts[i], task.finish_reasons[i]});
      }
      for (Score& score : process.score_all(items, timeout_s_)) scored.scores.push_back(std::move(score));
      const std::lock_guard lock(mutex_);
      in_work_[task.lease_id] += items.size();
    }
    scored.score_s = static_cast<double>(SteadyClock().now_ms() - start_ms) / 1000.0;
    return scored;
  }

  double timeout_s_;
  BoundedQueue<ScoreTask> tasks_;
  BoundedQueue<ScoredGroup> scores_;
  std::vector<std::unique_ptr<VerifierProcess>> processes_;
  std::mutex mutex_;                                // over the next two
  std::map<std::uint64_t, std::uint64_t> in_work_;  // completions scored, by lease, of the tasks submitted and not yet finished
  std::set<std::uint64_t> revoked_;                 // of those in work
  std::exception_ptr failure_;  // written before scores_ closes, read after
  std::vector<std::thread> threads_;
};

class Rewarder {
 public:
  Rewarder(const RewarderOptions& options, const Logger& logger)
      : options_(options), logger_(logger), session_({options.connect, options.hello, options.heartbeat_s, options.reconnect_s}, logger) {
    session_.make_heartbeat = [this] { return heartbeat(); };
  }

  int run() {
    while (session_.state() == SessionState::kConnecting || session_.state() == SessionState::kReady) {
      if (options_.stop && options_.stop()) {
        send(encode(Goodbye{"stopped by a signal"}));
        return kExitResumable;
      }
      const auto frame = session_.poll(Deadline::after_ms(pool_ && !pool_->idle() ? kBusyPollMs : kPollMs));
      if (session_.state() != SessionState::kReady) continue;
      if (session_.registration() != registration_) register_anew();
      if (frame) take(*frame);
      hand_over();
    }
    const bool ended = session_.state() == SessionState::kShutdown;
    logger_.info("leaving: " + session_.reason());
    return ended ? session_.exit_code() : kExitResumable;
  }

 private:
  void register_anew() {
    registration_ = session_.registration();
    const Config config = parse_config(session_.welcome().config, "the hub's configuration", {});
    unsent_.clear();
    waiting_.clear();
    pool_ = std::make_unique<ScoringPool>(placed_rewards(config), options_, logger_);
    send(encode(Credit{static_cast<std::uint32_t>(2 * options_.verifiers)}));
    logger_.info("registered with the hub on " + session_.welcome().host);
  }

  /// A group takes as long as its programs run: what is scored of it keeps its lease.
  Heartbeat heartbeat() {
    Heartbeat beat;
    if (pool_) beat.leases = pool_->progress();
    for (const ScoreTask& task : waiting_) beat.leases.push_back({task.lease_id, 0});
    return beat;
  }

  void take(const std::string& frame) {
    try {
      switch (frame_type(bytes_of(frame))) {
        case MessageType::kScoreTask:
          fault::point("rewarder.task");
          waiting_.push_back(decode<ScoreTask>(bytes_of(frame)));
          break;
        case MessageType::kRevoke:
          give_up(decode<Revoke>(bytes_of(frame)).lease_ids);
          break;
        case MessageType::kAccepted:
          break;
        default:
          throw ProtocolError("a message that is not for a rewarder");
      }
    } catch (const ProtocolError& error) {
      logger_.warning(std::string("dropped a message of the hub: ") + error.what());
    }
  }

  /// The hub has given these tasks to others.
  void give_up(const std::vector<std::uint64_t>& lease_ids) {
    for (const std::uint64_t id : lease_ids) {
      std::erase_if(waiting_, [id](const ScoreTask& task) { return task.lease_id == id; });
      std::erase_if(unsent_, [id](const ScoredGroup& scored) { return scored.lease_id == id; });
      pool_->revoke(id);
    }
  }

  void hand_over() {
    while (!waiting_.empty() && pool_->submit(waiting_.front())) waiting_.pop_front();
    while (auto scored = pool_->finished()) unsent_.push_back(*std::move(scored));
    while (!unsent_.empty()) {
      fault::point("rewarder.result.before");
      if (!send(encode(unsent_.front()))) return;
      fault::point("rewarder.result.after");
      unsent_.pop_front();
    }
  }

  bool send(const std::string& frame) { return session_.send(frame, Deadline::after_ms(kPollMs)); }

  const RewarderOptions& options_;
  Logger logger_;
  PeerSession session_;
  std::uint64_t registration_ = 0;
  std::unique_ptr<ScoringPool> pool_;
  std::deque<ScoreTask> waiting_;  // at most our credit
  std::deque<ScoredGroup> unsent_;
};

}  // namespace

int run_rewarder(const RewarderOptions& options, const Logger& logger) { return Rewarder(options, logger).run(); }

}  // namespace troupe
