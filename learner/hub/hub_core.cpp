#include "learner/hub/hub_core.h"

#include <algorithm>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/base/text.h"
#include "common/config/run_folder.h"
#include "common/messages/frame.h"

namespace troupe {
namespace {

/// More peers are turned away: a table that anyone can fill would grow without end.
constexpr std::size_t kMaxPeers = 4096;
/// Refused frames are counted all, but told at most this often.
constexpr std::int64_t kWarningEveryMs = 1000;

double mean_reward(const GroupRecord& record) {
  double sum = 0;
  int count = 0;
  for (const Score& score : record.scores) {
    if (!score.reward) continue;
    sum += *score.reward;
    ++count;
  }
  return count == 0 ? 0 : sum / count;
}

SchedulerOptions scheduler_options_of(const HubOptions& options) {
  SchedulerOptions o = scheduler_options(options.config, options.incarnation);
  o.sampling.stop_ids = options.stop_ids;
  o.vocabulary = options.vocabulary;
  return o;
}

}  // namespace

HubCore::HubCore(HubOptions options, HubChannel& channel, Ledger& ledger, PromptSource train, PromptSource held_out,
                 Logger logger)
    : options_(std::move(options)),
      channel_(channel),
      ledger_(ledger),
      train_(std::move(train)),
      held_out_(std::move(held_out)),
      logger_(std::move(logger)),
      rollouts_(RunFolder{options_.run_dir}.rollouts()),
      outbox_(channel) {
  if (ledger_.state().incarnation < options_.incarnation) {
    ledger_.append(AttemptStarted{options_.incarnation, ledger_.state().last_trained_step, unix_time_s()});
  }
  SchedulerSink& sink = *this;
  scheduler_.emplace(scheduler_options_of(options_), ledger_.state(), sink);
  restore_scored_groups();
}

void HubCore::restore_scored_groups() {
  std::map<std::uint64_t, GroupEntry> scored;
  for (const auto& [number, entry] : ledger_.state().groups) {
    if (entry.state == GroupState::kScored) scored[number] = entry;
  }
  if (scored.empty()) return;
  RolloutLogReader reader(RunFolder{options_.run_dir}.rollouts());
  for (const auto& [number, entry] : scored) {
    std::string problem;
    try {
      GroupRecord record = reader.read(entry.place);
      if (record.group == number && content_hash(record) == entry.hash) {
        scheduler_->restore(std::move(record));
        continue;
      }
      problem = "its content hash is another";
    } catch (const ConfigError& e) {
      problem = e.what();  // not synced before the machine went down: only chosen groups are promised to be there
    }
    logger_.warning("group " + std::to_string(number) + " cannot be read back and is generated anew: " + problem);
    ledger_.append(GroupRefused{number, "failed", true, unix_time_s()});
  }
}

// --- Frames ---

void HubCore::handle(const Incoming& incoming, std::int64_t now_ms) {
  now_ms_ = now_ms;
  try {
    dispatch(incoming, now_ms);
  } catch (const ProtocolError& e) {
    // A registered peer starts over: what it lost with this frame is given to others at once. What it sent before it hears of
    // that may be bad too. A stranger is sent away.
    const bool known = scheduler_->peers().find(incoming.peer) != nullptr;
    if (known && starting_over_.size() < kMaxPeers) starting_over_.insert(incoming.peer);
    refuse(incoming.peer, e.what(), known || starting_over_.contains(incoming.peer));
    if (known) scheduler_->leave(incoming.peer, "sent a bad frame");
  }
}

void HubCore::dispatch(const Incoming& in, std::int64_t now_ms) {
  const auto bytes = bytes_of(in.frame);
  const MessageType type = frame_type(bytes);
  if (type == MessageType::kHello) return hello(in.peer, decode<Hello>(bytes), now_ms);
  if (scheduler_->peers().find(in.peer) == nullptr) {
    return refuse(in.peer,
                  "not registered with attempt " + std::to_string(options_.incarnation) + " of the hub: say hello",
                  true);
  }
  scheduler_->heard(in.peer, now_ms);
  switch (type) {
    case MessageType::kCredit:
      return scheduler_->credit(in.peer, decode<Credit>(bytes).groups);
    case MessageType::kHeartbeat:
      scheduler_->heartbeat(in.peer, decode<Heartbeat>(bytes), now_ms);
      return outbox_.post(in.peer, encode(Heartbeat{}));
    case MessageType::kRolloutGroup:
      return result<RolloutGroup>(in, Role::kActor, &GroupScheduler::take_rollout);
    case MessageType::kScoredGroup:
      return result<ScoredGroup>(in, Role::kRewarder, &GroupScheduler::take_scores);
    case MessageType::kRefusal: {
      const auto refusal = decode<Refusal>(bytes);
      return scheduler_->decline(in.peer, refusal.lease_id, refusal.reason, now_ms);
    }
    case MessageType::kManifestRequest:
      if (const WeightManifest* m = weights_.manifest(decode<ManifestRequest>(bytes)))
        outbox_.post(in.peer, encode(*m));
      return;
    case MessageType::kChunkRequest:
      return chunk(in.peer, decode<ChunkRequest>(bytes));
    case MessageType::kWeightMember:
      return scheduler_->weight_member(in.peer, decode<WeightMember>(bytes));
    case MessageType::kLearnerBeat:
      return learner_beat(in.peer, decode<LearnerBeat>(bytes));
    case MessageType::kGoodbye: {
      const std::string reason = decode<Goodbye>(bytes).reason;
      logger_.info(name_of(in.peer) + " leaves: " + reason);
      return scheduler_->leave(in.peer, "left, " + reason);
    }
    default:
      throw ProtocolError("message type " + std::to_string(static_cast<int>(type)) + " is not for the hub");
  }
}

std::string HubCore::objection_to(const PeerId& id, const Hello& hello) const {
  if (!options_.token.empty() && hello.token != options_.token) {
    return "the token of " + hello.name + " is not that of the run: give it the file hub.token of the run directory";
  }
  const auto learners = static_cast<std::uint32_t>(options_.config.learners.count);
  if (hello.role == Role::kLearner && (hello.rank == 0 || hello.rank >= learners)) {
    return "learner rank: expected 1 to " + std::to_string(learners - 1) + ", found " + std::to_string(hello.rank);
  }
  if (scheduler_->peers().find(id) == nullptr && scheduler_->peers().all().size() >= kMaxPeers) {
    return "the hub has " + std::to_string(kMaxPeers) + " peers already";
  }
  return "";
}

void HubCore::hello(const PeerId& id, const Hello& hello, std::int64_t now_ms) {
  starting_over_.erase(id);
  const std::string objection = objection_to(id, hello);
  if (!objection.empty()) return refuse(id, objection, false);
  scheduler_->join(id, hello, now_ms);
  logger_.info(name_of(id) + " joined");
  Welcome welcome;
  welcome.incarnation = options_.incarnation;
  welcome.run_id = options_.run_id;
  welcome.host = host_name();
  welcome.config = print_config(options_.config);
  if (hello.role == Role::kActor) welcome.model_files = options_.model_files;
  outbox_.post(id, encode(welcome));
  const WeightManifest* newest = weights_.newest();
  if (hello.role == Role::kActor && newest != nullptr) outbox_.post(id, encode(*newest));
}

template <class Result, class Take>
void HubCore::result(const Incoming& in, Role role, Take take) {
  auto message = decode<Result>(bytes_of(in.frame));
  const std::uint64_t lease_id = message.lease_id;
  if (scheduler_->peers().find(in.peer)->hello.role != role) {
    throw ProtocolError("a result of group " + std::to_string(message.group) + " from a peer of another role");
  }
  if (message.incarnation != options_.incarnation) {
    throw ProtocolError("a result of group " + std::to_string(message.group) + " under a lease of attempt " +
                        std::to_string(message.incarnation) + "; this is attempt " +
                        std::to_string(options_.incarnation));
  }
  const std::uint64_t group = message.group;
  try {
    if (((*scheduler_).*take)(in.peer, std::move(message), now_ms_)) {
      outbox_.post(in.peer, encode(Accepted{lease_id}));
      return;
    }
    ++late_results_;
    count_refused(in.peer, "a late or second result of group " + std::to_string(group) + ": its lease was taken back");
    outbox_.post(in.peer, encode(Revoke{{lease_id}}));
  } catch (const ProtocolError& e) {
    count_refused(in.peer, e.what());  // the scheduler has revoked the lease
  }
}

void HubCore::learner_beat(const PeerId& id, const LearnerBeat& beat) {
  const Peer& peer = *scheduler_->peers().find(id);
  if (peer.hello.role != Role::kLearner || peer.hello.rank != beat.rank) {
    throw ProtocolError("LearnerBeat.rank: expected that of the peer's hello, found " + std::to_string(beat.rank));
  }
  if (options_.ranks == nullptr) return outbox_.post(id, encode(Heartbeat{}));
  options_.ranks->heard(beat);
  for (const LearnerBeat& other : options_.ranks->beats_for(beat.rank)) outbox_.post(id, encode(other));
}

void HubCore::chunk(const PeerId& id, const ChunkRequest& request) {
  // One bucket at a time is the stream's flow control: who asks on without reading gets nothing more into memory.
  if (!outbox_.empty(id)) return count_refused(id, "a ChunkRequest before the last answer was read");
  outbox_.post(id, encode(weights_.chunk(request)));
}

void HubCore::refuse(const PeerId& id, const std::string& problem, bool register_again) {
  count_refused(id, problem);
  outbox_.post(id, encode(Refusal{problem, register_again}));
}

void HubCore::count_refused(const PeerId& id, const std::string& problem) {
  ++refused_frames_;
  if (now_ms_ - last_warning_ms_ < kWarningEveryMs) {
    ++warnings_held_back_;
    return;
  }
  const std::string more = warnings_held_back_ == 0
                               ? ""
                               : " (and " + std::to_string(warnings_held_back_) + " more since the last such line)";
  logger_.warning("refused from " + name_of(id) + ": " + problem + more);
  warnings_held_back_ = 0;
  last_warning_ms_ = now_ms_;
}

std::string HubCore::name_of(const PeerId& id) const {
  const Peer* peer = scheduler_->peers().find(id);
  return peer == nullptr ? "unregistered peer " + printable(id) : peer->describe();
}

// --- The scheduler's wishes ---

Prompt HubCore::prompt(Purpose purpose, std::uint64_t number) {
  const PromptSource& source = purpose == Purpose::kTrain ? train_ : held_out_;
  const Row row = source.row(number);
  // The line itself where there is one: the order of its keys counts where a template writes them.
  return {source.prompt_ids(row), row.text.empty() ? row.json.dump() : row.text};
}
void HubCore::send_lease(const PeerId& peer, const Lease& lease) { outbox_.post(peer, encode(lease)); }
void HubCore::send_task(const PeerId& peer, const ScoreTask& task) { outbox_.post(peer, encode(task)); }
void HubCore::send_revoke(const PeerId& peer, const std::vector<std::uint64_t>& ids) {
  outbox_.post(peer, encode(Revoke{ids}));
}
void HubCore::warn(const std::string& message) { logger_.warning(message); }

void HubCore::record(const LedgerRecord& record) {
  LedgerRecord stamped = record;
  std::visit([](auto& r) {
    if constexpr (requires { r.unix_s; }) r.unix_s = unix_time_s();
  }, stamped);
  ledger_.append(stamped);
}

void HubCore::log_scored(const GroupRecord& record) {
  fault::point("rollouts.append.before");
  const RolloutPlace place = rollouts_.append(record);  // before the ledger names it
  fault::point("rollouts.append.after");
  ledger_.append(
      GroupScored{record.group, record.purpose, content_hash(record), place, record.rewarder, mean_reward(record), unix_time_s()});
}

// --- Time ---

void HubCore::advance(std::int64_t now_ms) {
  now_ms_ = now_ms;
  scheduler_->tick(now_ms);
  scheduler_->schedule(now_ms);
}

void HubCore::flush() {
  for (const Outbox::Lost& lost : outbox_.flush()) {
    if (scheduler_->peers().find(lost.peer) == nullptr) continue;
    logger_.warning(name_of(lost.peer) + " is " + lost.reason);
    scheduler_->leave(lost.peer, lost.reason);
  }
}

void HubCore::say_goodbye(int exit_code, const std::string& reason, Deadline deadline) {
  std::set<PeerId> unanswered;
  for (const auto& [id, peer] : scheduler_->peers().all()) {
    outbox_.post(id, encode(Shutdown{exit_code, reason}));
    if (peer.hello.role != Role::kLearner) unanswered.insert(id);  // learner ranks leave by rank 0's order
  }
  flush();
  while ((!outbox_.empty() || !unanswered.empty()) && !deadline.expired()) {
    const auto incoming = channel_.receive(Deadline::after_ms(std::min<std::int64_t>(10, deadline.remaining_ms())));
    if (incoming && incoming->frame == encode(Goodbye{kDismissed})) unanswered.erase(incoming->peer);  // results are too late now
    flush();
    std::erase_if(unanswered, [&](const PeerId& id) { return scheduler_->peers().find(id) == nullptr; });
  }
}

// --- The learner ---

void HubCore::publish(PublishedWeights weights) {
  const std::uint64_t version = weights.manifest.version;
  weights_.put(std::move(weights));
  scheduler_->published(version);
  const std::string hint = encode(*weights_.newest());
  for (const auto& [id, peer] : scheduler_->peers().all()) {
    if (peer.hello.role == Role::kActor) outbox_.post(id, hint);
  }
}

std::optional<std::vector<GroupRecord>> HubCore::take_batch(std::int64_t step) {
  check(step == ledger_.state().last_chosen_step + 1, "the batch of step " + std::to_string(step) +
                                                          " was asked for, the next one is that of step " +
                                                          std::to_string(ledger_.state().last_chosen_step + 1));
  BatchChosen batch;
  batch.step = step;
  batch.groups = scheduler_->batch();
  if (batch.groups.empty()) return std::nullopt;
  for (const std::uint64_t number : batch.groups) {
    const GroupEntry& entry = ledger_.state().groups.at(number);
    batch.hashes.push_back(entry.hash);
    batch.places.push_back(entry.place);
  }
  batch.world_size = options_.config.learners.count;
  rollouts_.sync();  // on disk before the record that promises them
  fault::point("rollouts.sync.after");
  ledger_.append(batch);
  ledger_.sync();
  fault::point("batch.recorded");
  if (step % options_.config.checkpoint.every == 0) rollouts_.begin_file();  // what its checkpoint needs no more can be pruned
  return scheduler_->take_batch();
}

std::optional<std::vector<GroupRecord>> HubCore::take_evaluation(std::uint64_t version, int prompts) {
  if (!scheduler_->evaluating()) scheduler_->begin_evaluation(version, static_cast<std::size_t>(prompts));
  check(*scheduler_->evaluating() == version, "an evaluation was begun before that of another version was done");
  return scheduler_->take_evaluation();
}

void HubCore::append(const LedgerRecord& record) { ledger_.append(record); }

void HubCore::sync() {
  rollouts_.sync();
  ledger_.sync();
}

void HubCore::retire_open_groups() {
  std::vector<std::uint64_t> open;
  for (const auto& [number, entry] : ledger_.state().groups) {
    if (!is_final(entry.state) && entry.state != GroupState::kChosen) open.push_back(number);
  }
  for (const std::uint64_t number : open) ledger_.append(GroupRefused{number, "unused", false, unix_time_s()});
}

std::optional<PeerId> HubCore::learner(std::uint32_t rank) const {
  for (const auto& [id, peer] : scheduler_->peers().all()) {
    if (peer.hello.role == Role::kLearner && peer.hello.rank == rank) return id;
  }
  return std::nullopt;
}

std::vector<WeightTaker> HubCore::weight_takers() const {
  std::vector<WeightTaker> takers;
  for (const auto& [id, peer] : scheduler_->peers().all()) {
    if (!peer.gpu.empty()) takers.push_back({id, peer.describe(), peer.gpu, peer.gpu_offer});
  }
  return takers;
}

HubStatus HubCore::status(std::int64_t now_ms) const {
  HubStatus s;
  const PeerTable& peers = scheduler_->peers();
  s.actors = peers.count(Role::kActor);
  s.rewarders = peers.count(Role::kRewarder);
  s.leased = scheduler_->leased();
  s.scoring = scheduler_->scoring();
  s.scored = scheduler_->scored();
  s.expired_leases = scheduler_->expired_leases();
  s.refused_frames = refused_frames_;
  s.late_results = late_results_;
  s.refused_groups = ledger_.state().refused;
  for (const auto& [reason, count] : ledger_.state().refused_again) s.refused_groups[reason] += count;
  for (const auto& [id, peer] : peers.all()) {
    s.actor_tokens_per_s += peer.hello.role == Role::kActor ? peer.tokens_per_s : 0;
    s.weights_stall_s = std::max(s.weights_stall_s, peer.weights_stall_s);
  }
  s.waiting_for = scheduler_->waiting_for(channel_.endpoint(), now_ms);
  return s;
}

}  // namespace troupe
