#include "learner/stages/grpo.h"

#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/transport/zmq_peer_channel.h"
#include "learner/checkpoint.h"
#include "learner/objective/intake.h"
#include "learner/objective/packer.h"
#include "learner/stages/conductor.h"
#include "learner/stages/grpo_learner.h"
#include "learner/stages/learner_link.h"
#include "learner/stages/quarantine.h"
#include "learner/stages/run_record.h"
#include "learner/stages/start_checks.h"
#include "learner/stages/start_model.h"

namespace troupe {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitResumable = 75;

/// What rank 0 tells the others to do next, as the first byte of a StepShard's body.
enum class Order : char { kTrain = 'T', kRollForward = 'R', kCheckpoint = 'C', kFinish = 'F', kStop = 'S', kGiveUp = 'G' };

double seconds_since(std::int64_t start_ms) { return static_cast<double>(SteadyClock().now_ms() - start_ms) / 1000.0; }

/// Rank 0's text on every rank.
std::string broadcast_text(std::string text, Communicator& communicator) {
  std::array<std::uint64_t, 1> size = {text.size()};
  communicator.broadcast(std::as_writable_bytes(std::span(size)), 0, "size of a text");
  text.resize(size[0]);
  communicator.broadcast(std::as_writable_bytes(std::span(text)), 0, "text");
  return text;
}

/// Rank 0: chooses what happens next, hands the others their parts, and does its own.
class Leader {
 public:
  Leader(const GrpoOptions& options, Communicator& communicator, GrpoLearner& learner, Conductor& conductor, RunRecord& record,
         RankBoard& board, const Logger& logger)
      : options_(options),
        config_(options.config),
        communicator_(communicator),
        learner_(learner),
        conductor_(conductor),
        record_(record),
        board_(board),
        logger_(logger) {}

  int run(std::int64_t resumed_step) {
    const std::int64_t recorded = record_.state().last_chosen_step;
    for (std::int64_t step = resumed_step + 1; step <= recorded; ++step) {
      train(step, conductor_.recorded_batch(step), SteadyClock().now_ms(), 0);
      if (conductor_.should_stop()) return stop(step);
    }
    std::int64_t step = std::max(resumed_step, recorded);
    if (conductor_.diverged()) conductor_.hub().forget_restored();
    conductor_.publish(learner_.parameters(), static_cast<std::uint64_t>(step));
    checkpointed_ = resumed_step;
    if (const auto reason = conductor_.reason_to_stop()) return give_up(step, *reason);
    if (step == 0 || evaluation_is_due(step)) conductor_.evaluate(static_cast<std::uint64_t>(step));  // unless the ledger has it
    while (step < config_.run.steps) {
      if (skipped_in_row_ >= config_.run.max_skipped) return give_up(step, skipped_reason(step));
      const bool trained = live_step(step + 1);
      if (trained) ++step;
      if (const auto reason = conductor_.reason_to_stop()) return give_up(step, *reason);
      if (!trained) return stop(step);
      if (step < config_.run.steps) look_back(step);
      if (conductor_.should_stop()) return stop(step);
    }
    return finish(step);
  }

 private:
  bool evaluation_is_due(std::int64_t step) const { return config_.eval.every > 0 && step % config_.eval.every == 0; }

  /// The evaluation and checkpoint that are due between two steps.
  void look_back(std::int64_t step) {
    if (evaluation_is_due(step)) conductor_.evaluate(static_cast<std::uint64_t>(step));
    if (step % config_.checkpoint.every == 0) checkpoint(step);
  }

  bool live_step(std::int64_t step) {
    board_.set(step, "waiting for the batch");
    const std::int64_t start_ms = SteadyClock().now_ms();
    const auto batch = conductor_.live_batch(step);
    if (!batch) return false;
    train(step, *batch, start_ms, seconds_since(start_ms));
    return true;
  }

  /// Trains a step; publishes and reports it where it is a live one (`wait_s` > 0 or not recorded before).
  void train(std::int64_t step, const std::vector<GroupRecord>& groups, std::int64_t start_ms, double wait_s) {
    fault::point("learner.step.begin");
    const bool recorded = step <= record_last_;
    const StepBatch batch = make_step(config_, step, groups);
    if (!recorded) conductor_.look_at_batch(step, batch.metrics);
    const int together = config_.learners.tensor_parallel;  // ranks that train one plan
    const std::vector<StepPlan> plans = pack_step(batch, config_.batch, communicator_.size() / together);
    for (int rank = 1; rank < communicator_.size(); ++rank) {
      const StepPlan& plan = plans[static_cast<std::size_t>(rank / together)];
      order(rank, step, recorded ? Order::kRollForward : Order::kTrain, encode_step_plan(plan));
    }
    const std::int64_t train_ms = SteadyClock().now_ms();
    StepReport report;
    report.step = step;
    report.intake = batch.metrics;
    report.train = recorded ? learner_.roll_forward(plans.front()) : learner_.train(plans.front());
    const WeightsDigest digest = learner_.digest_after(step);
    report.times.train = seconds_since(train_ms);
    look_at_skipped(step, groups, report.train);
    board_.set(step, "publish");
    if (!recorded) {
      const std::int64_t publish_ms = SteadyClock().now_ms();
      conductor_.publish(learner_.parameters(), static_cast<std::uint64_t>(step));
      report.times.publish = seconds_since(publish_ms);
    }
    report.times.wait = wait_s;
    report.times.step = seconds_since(start_ms);
    report.hub = conductor_.hub().status();
    conductor_.step_done(report, step_record(step, report.train, digest, config_, communicator_.size()));
    fault::point("learner.step.end");
  }

  /// Tells of updates that were left out, and counts the steps in a row that were left out as a whole.
  void look_at_skipped(std::int64_t step, const std::vector<GroupRecord>& groups, const TrainStats& train) {
    skipped_in_row_ = train.skipped > 0 && train.skipped == train.updates ? skipped_in_row_ + 1 : 0;
    if (train.skipped == 0) return;
    bad_tensor_ = train.bad_tensor;
    logger_.warning("step " + std::to_string(step) + ": the gradient of " + bad_tensor_ + " is not finite, skipped updates=" +
                    std::to_string(train.skipped) + " of " + std::to_string(train.updates));
    if (step > trained_before_) write_quarantine(options_.folder, step, groups, train);
  }

  void order(int rank, std::int64_t step, Order order, const std::string& plan = "") {
    const StepShard shard{step, std::string(1, static_cast<char>(order)) + plan};
    const double patience_s = config_.deadline.collective_s;
    if (!conductor_.hub().send_to_learner(static_cast<std::uint32_t>(rank), shard, Deadline::after_s(patience_s))) {
      throw TransportError("learner rank " + std::to_string(rank) + " did not take its part of step " + std::to_string(step) +
                           " within " + std::to_string(patience_s) + " s; it: " + board_.last_seen(rank));
    }
  }

  void order_all(std::int64_t step, Order what) {
    for (int rank = 1; rank < communicator_.size(); ++rank) order(rank, step, what);
  }

  void checkpoint(std::int64_t step) {
    if (checkpointed_ == step) return;
    order_all(step, Order::kCheckpoint);
    conductor_.hub().sync();  // the checkpoint must not outlive the records that lead to it
    learner_.checkpoint(step, std::filesystem::file_size(options_.folder.ledger()));
    conductor_.hub().record(CheckpointWritten{step, "step-" + std::to_string(step)});
    retire_checkpoints(options_.folder.checkpoints(), config_.checkpoint, best_step());
    checkpointed_ = step;
  }

  /// The evaluated step with the highest held-out reward, the later of equals.
  std::optional<std::int64_t> best_step() const {
    std::optional<Evaluated> best;
    conductor_.hub().read_ledger([&](const LedgerState& state) {
      for (const Evaluated& evaluated : state.evaluations) {
        if (!best || evaluated.mean_reward >= best->mean_reward) best = evaluated;
      }
    });
    return best ? std::optional(static_cast<std::int64_t>(best->version)) : std::nullopt;
  }

  int stop(std::int64_t step) {
    const std::string reason = "the run was stopped and can be resumed";
    if (step > 0) checkpoint(step);
    conductor_.record_stop(step, kExitResumable, reason);
    order_all(step, Order::kStop);
    conductor_.note("stopped after step " + std::to_string(step) + "; the same command resumes");
    conductor_.stop(kExitResumable, reason);
    return kExitResumable;
  }

  std::string skipped_reason(std::int64_t step) const {
    return "the gradient of " + bad_tensor_ + " was not finite in " + std::to_string(skipped_in_row_) +
           " steps in a row (run.max_skipped), up to step " + std::to_string(step) + "; " + options_.folder.quarantine().string() +
           " names the groups, checkpoints/step-" + std::to_string(step) +
           " has the last good weights; a lower optimizer.lr or another loss may help";
  }

  /// Nothing is learned any more, and another attempt would come to the same: the last good weights are kept, and the run fails.
  int give_up(std::int64_t step, const std::string& reason) {
    logger_.error("stopping after step " + std::to_string(step) + ": " + reason);
    if (step > 0) checkpoint(step);
    conductor_.record_stop(step, kExitFailed, reason);
    if (options_.write_report && step > 0) options_.write_report(options_.folder.root);
    order_all(step, Order::kGiveUp);
    conductor_.stop(kExitFailed, "the run was given up after step " + std::to_string(step));
    return kExitFailed;
  }

  int finish(std::int64_t step) {
    conductor_.evaluate(static_cast<std::uint64_t>(step));
    if (conductor_.should_stop()) return stop(step);
    checkpoint(step);
    order_all(step, Order::kFinish);
    std::vector<TrainedStep> steps;
    conductor_.hub().read_ledger([&](const LedgerState& state) {
      for (const auto& [number, batch] : state.batches) {
        TrainedStep trained{number, {}};
        for (std::size_t i = 0; i < batch.groups.size(); ++i) trained.groups.emplace_back(batch.groups[i], batch.hashes[i]);
        steps.push_back(std::move(trained));
      }
    });
    conductor_.finish(learner_.final_hash_of(steps));
    if (options_.write_report) options_.write_report(options_.folder.root);
    return 0;
  }

  const GrpoOptions& options_;
  const Config& config_;
  Communicator& communicator_;
  GrpoLearner& learner_;
  Conductor& conductor_;
  RunRecord& record_;
  RankBoard& board_;
  const Logger& logger_;
  std::int64_t record_last_ = record_.state().last_chosen_step;
  std::int64_t trained_before_ = record_.state().last_trained_step;
  std::int64_t checkpointed_ = 0;
  std::int64_t skipped_in_row_ = 0;
  std::string bad_tensor_;
};

/// The other ranks: do what rank 0 says until it says that it is over.
int follow(GrpoLearner& learner, LearnerLink& link, RankBoard& board, const std::function<bool()>& stop) {
  for (;;) {
    if (stop && stop()) board.tell_to_stop();
    board.set(0, "waiting for the next step");
    auto shard = link.next(Deadline::after_s(1));
    if (!shard) continue;
    fault::point("learner.order");
    check(!shard->body.empty(), "an empty order of rank 0");
    switch (static_cast<Order>(shard->body.front())) {
      case Order::kTrain:
        learner.train(decode_step_plan(shard->body.substr(1)));
        learner.digest_after(shard->step);
        break;
      case Order::kRollForward:
        learner.roll_forward(decode_step_plan(shard->body.substr(1)));
        learner.digest_after(shard->step);
        break;
      case Order::kCheckpoint:
        learner.checkpoint(shard->step, 0);
        break;
      case Order::kFinish:
        learner.final_hash_of({});
        return 0;
      case Order::kStop:
        return kExitResumable;
      case Order::kGiveUp:
        return kExitFailed;
      default:
        throw ProtocolError("rank 0 ordered '" + shard->body.substr(0, 1) + "', which is none of T, R, C, F, S, G");
    }
  }
}

}  // namespace

int run_grpo(const GrpoOptions& options, Communicator& communicator, const Logger& logger) {
  const Config& config = options.config;
  config.validate_for_training();
  const bool leads = communicator.rank() == 0;
  const SteadyClock clock;
  RankBoard board(static_cast<std::uint32_t>(communicator.rank()), config.deadline, communicator, clock);
  std::optional<RunRecord> record;
  std::string finished = "no";
  if (leads) {
    record.emplace(config, options.folder, logger);
    if (record->only_summary_left()) {
      record->write_summary();
      finished = "yes";
    } else {
      prepare_start(config, options.folder);
      check_data(config, start_folder(config, options.folder), logger);
    }
  }
  if (broadcast_text(finished, communicator) == "yes") return 0;

  board.set(0, "cold start");
  if (!make_start(config, options.folder, communicator, options.stop, logger)) {
    logger.info("stopped during the cold start; the same command begins it again");
    return kExitResumable;
  }
  board.set(0, "load model", Pace::kLengthy);
  GrpoLearner learner(config, options.folder, communicator, board);
  const std::int64_t resumed_step = learner.resume(logger);
  if (leads) {
    logger.info(learner.memory().text());
    say_exactness(config, logger);
    require_ledger(*record, resumed_step);
    record->begin(learner.initial_hash());
    Conductor conductor(config, *record, learner.start(), resumed_step, options.terminal, options.stop, board, logger);
    broadcast_text(conductor.endpoint(), communicator);
    broadcast_text(host_name(), communicator);
    return Leader(options, communicator, learner, conductor, *record, board, logger).run(resumed_step);
  }
  LearnerLink::Options link;
  const std::string endpoint = broadcast_text("", communicator);
  check_reachable({endpoint, 0, broadcast_text("", communicator), 0}, host_name());
  link.connect = [endpoint] { return std::make_unique<ZmqPeerChannel>(endpoint); };
  link.rank = static_cast<std::uint32_t>(communicator.rank());
  link.host = host_name();
  link.token = read_hub_token(options.folder);
  link.heartbeat_s = config.deadline.heartbeat_s;
  LearnerLink conversation(link, board, logger);
  return follow(learner, conversation, board, options.stop);
}

}  // namespace troupe
