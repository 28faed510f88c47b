#include "learner/hub/group_scheduler.h"

#include <algorithm>
#include <cmath>

#include "common/base/error.h"
#include "common/base/random.h"
#include "learner/hub/result_check.h"

namespace troupe {
namespace {

/// A lease's number: the hub's incarnation above, a counter below.
constexpr int kCounterBits = 48;
/// So many times a group whose verifier fails is generated anew before it is given up.
constexpr int kRegenerations = 2;

std::string seconds(std::int64_t ms) {
  const std::string tenths = std::to_string(ms / 100 % 10);
  return std::to_string(ms / 1000) + (tenths == "0" ? "" : "." + tenths) + " s";
}

}  // namespace

SchedulerOptions scheduler_options(const Config& config, std::uint64_t incarnation) {
  const auto ms = [](double s) { return static_cast<std::int64_t>(s * 1000.0); };
  SchedulerOptions o;
  o.incarnation = incarnation;
  o.steps = config.run.steps;
  o.max_lag = static_cast<std::uint64_t>(config.run.max_lag);
  o.batch_prompts = static_cast<std::size_t>(config.batch.prompts);
  o.ahead = config.hub.ahead;
  o.dynamic_sampling = config.batch.dynamic_sampling;
  o.group_size = static_cast<std::uint32_t>(config.group.size);
  o.sampling.temperature = config.sampling.temperature;
  o.sampling.top_p = config.sampling.top_p;
  o.sampling.top_k = config.sampling.top_k;
  o.sampling.min_p = config.sampling.min_p;
  o.sampling.max_tokens = config.sampling.max_tokens;
  o.sampling.min_tokens = config.sampling.min_tokens;
  o.sampling.stop_texts = stop_strings(config.sampling);
  o.train_seed = seed_for(config.run.seed, Stream::kSampling);
  o.evaluate_seed = seed_for(config.run.seed, Stream::kEvaluation);
  o.lease_ms = ms(config.deadline.lease_s);
  o.heartbeat_ms = ms(config.deadline.heartbeat_s);
  return o;
}

GroupScheduler::GroupScheduler(SchedulerOptions options, const LedgerState& ledger, SchedulerSink& sink)
    : options_(std::move(options)),
      sink_(sink),
      next_group_(ledger.next_group),
      chosen_step_(static_cast<std::uint64_t>(ledger.last_chosen_step)) {
  check(options_.incarnation < (std::uint64_t{1} << (63 - kCounterBits)),
        "the hub's incarnation has outgrown the lease ids");
  for (const auto& [number, entry] : ledger.groups) {
    if (entry.state == GroupState::kOpen || entry.state == GroupState::kScored)
      train_[number].attempts = entry.attempts;
  }
}

// --- Peers ---

void GroupScheduler::join(const PeerId& id, const Hello& hello, std::int64_t now_ms) {
  if (peers_.find(id) != nullptr) leave(id, "registered again");
  if (const auto twin = peers_.twin_of(id, hello)) leave(*twin, "registered again");
  peers_.add(id, hello, now_ms);
}

void GroupScheduler::leave(const PeerId& id, const std::string& reason) {
  const Peer* peer = peers_.find(id);
  if (peer == nullptr) return;
  const std::string why = peer->hello.name + ": " + reason;
  const std::set<std::uint64_t> leases = peer->leases;
  for (const std::uint64_t lease : leases) take_back(leases_.at(lease), why, false);
  peers_.remove(id);
}

void GroupScheduler::heard(const PeerId& id, std::int64_t now_ms) {
  if (Peer* peer = peers_.find(id)) peer->last_heard_ms = now_ms;
}

void GroupScheduler::credit(const PeerId& id, std::uint32_t groups) {
  if (Peer* peer = peers_.find(id)) peer->credit = groups;
}

void GroupScheduler::weight_member(const PeerId& id, const WeightMember& member) {
  Peer* peer = peers_.find(id);
  if (peer == nullptr) return;
  peer->gpu = member.gpu;
  peer->gpu_offer = ++gpu_offers_;
}

void GroupScheduler::heartbeat(const PeerId& id, const Heartbeat& beat, std::int64_t now_ms) {
  Peer* peer = peers_.find(id);
  if (peer == nullptr) return;
  peer->policy_version = beat.policy_version;
  peer->tokens_per_s = beat.tokens_per_s;
  peer->weights_stall_s = beat.weights_stall_s;
  const auto held_group = [&](const LeaseProgress& p) {
    return peer->leases.contains(p.lease_id) ? &group(leases_.at(p.lease_id)) : nullptr;
  };
  bool progress = false;
  for (const LeaseProgress& p : beat.leases) {
    Group* g = held_group(p);
    if (g == nullptr || p.tokens <= g->progress) continue;
    g->progress = p.tokens;
    g->deadline_ms = now_ms + options_.lease_ms;
    progress = true;
  }
  if (!progress) return;
  for (const LeaseProgress& p : beat.leases) {
    Group* g = held_group(p);
    if (g != nullptr && p.tokens == 0) g->deadline_ms = now_ms + options_.lease_ms;
  }
}

void GroupScheduler::tick(std::int64_t now_ms) {
  for (const PeerId& id : peers_.silent(now_ms, options_.heartbeat_ms)) {
    const Peer& peer = *peers_.find(id);
    const std::string reason = "gone, silent for " + seconds(now_ms - peer.last_heard_ms);
    if (!peer.leases.empty()) {
      sink_.warn(peer.describe() + " is " + reason + "; its " + std::to_string(peer.leases.size()) +
                 " leases are given to others");
    } else {
      sink_.warn(peer.describe() + " is " + reason);
    }
    leave(id, reason);
  }
  std::vector<std::pair<std::uint64_t, Key>> stalled;
  for (const auto& [lease_id, key] : leases_) {
    if (group(key).deadline_ms <= now_ms) stalled.emplace_back(lease_id, key);
  }
  for (const auto& [lease_id, key] : stalled) {
    const PeerId holder = group(key).holder;
    const Peer& peer = *peers_.find(holder);
    sink_.warn(peer.describe() + " made no progress on group " + std::to_string(key.number) + " for " +
               seconds(options_.lease_ms) + "; the lease is taken back");
    ++expired_leases_;
    take_back(key, peer.hello.name + ": stalled for " + seconds(options_.lease_ms), true);
    fault(holder, now_ms);
  }
}

void GroupScheduler::fault(const PeerId& id, std::int64_t now_ms) {
  Peer* peer = peers_.find(id);
  if (peer == nullptr) return;
  peer->faults = std::min(peer->faults + 1, 16);
  peer->not_before_ms = now_ms + peer->faults * options_.heartbeat_ms / 4;
}

// --- Leases ---

bool GroupScheduler::may_lease_training() const {
  if (!newest_version_ || chosen_step_ >= static_cast<std::uint64_t>(options_.steps)) return false;
  if (options_.max_lag == 0 && ready_.size() >= options_.batch_prompts) return false;
  return !too_stale(*newest_version_) && busy() < admitted();
}

std::size_t GroupScheduler::admitted() const {
  const std::uint64_t steps_left = static_cast<std::uint64_t>(options_.steps) - chosen_step_;
  const std::size_t batches = std::min(options_.max_lag + 1, steps_left) * options_.batch_prompts;
  // Without a filter no more than the batch itself can be used of the only version that counts.
  if (options_.max_lag == 0 && !options_.dynamic_sampling) return batches;
  return std::max(batches, static_cast<std::size_t>(std::ceil(static_cast<double>(batches) * options_.ahead)));
}

std::size_t GroupScheduler::busy() const {
  return ready_.size() + static_cast<std::size_t>(std::count_if(train_.begin(), train_.end(), [](const auto& entry) {
           return entry.second.stage != Stage::kOpen;
         }));
}

std::optional<GroupScheduler::Key> GroupScheduler::next_to_lease() {
  const auto is_open = [](const auto& entry) { return entry.second.stage == Stage::kOpen; };
  if (evaluation_version_ && newest_version_ && *newest_version_ >= *evaluation_version_) {
    const auto open = std::find_if(evaluate_.begin(), evaluate_.end(), is_open);
    if (open != evaluate_.end()) return Key{Purpose::kEvaluate, open->first};
  }
  if (!may_lease_training()) return std::nullopt;
  const auto open = std::find_if(train_.begin(), train_.end(), is_open);
  if (open != train_.end()) return Key{Purpose::kTrain, open->first};
  train_[next_group_];
  return Key{Purpose::kTrain, next_group_++};
}

void GroupScheduler::schedule(std::int64_t now_ms) {
  while (const auto peer = peers_.with_room(Role::kActor, now_ms)) {
    const auto key = next_to_lease();
    if (!key) break;
    give_lease(*peer, *key, now_ms);
  }
  while (!to_score_.empty()) {
    const auto peer = peers_.with_room(Role::kRewarder, now_ms);
    if (!peer) break;
    const Key key = to_score_.front();
    to_score_.pop_front();
    give_task(*peer, key, now_ms);
  }
}

void GroupScheduler::give_lease(const PeerId& id, const Key& key, std::int64_t now_ms) {
  const bool evaluate = key.purpose == Purpose::kEvaluate;
  Prompt prompt = sink_.prompt(key.purpose, key.number);
  Group& g = group(key);
  hold(g, key, id, now_ms);
  g.stage = Stage::kLeased;
  g.policy_version = evaluate ? *evaluation_version_ : *newest_version_;
  g.record = GroupRecord{};
  g.record.group = key.number;
  g.record.purpose = key.purpose;
  g.record.prompt_ids = std::move(prompt.ids);
  g.record.row = std::move(prompt.row);
  g.record.attempt = g.attempts++;

  Lease lease;
  lease.lease_id = g.lease_id;
  lease.incarnation = options_.incarnation;
  lease.group = key.number;
  lease.attempt = g.record.attempt;
  lease.purpose = key.purpose;
  lease.seed = evaluate ? options_.evaluate_seed : options_.train_seed;
  lease.policy_version = g.policy_version;
  lease.samples = evaluate ? 1 : options_.group_size;
  lease.prompt_ids = g.record.prompt_ids;
  lease.sampling = options_.sampling;
  if (evaluate) {
    lease.sampling.temperature = 0;  // greedy
    lease.sampling.top_p = 1;
    lease.sampling.top_k = 0;
    lease.sampling.min_p = 0;
  }
  sink_.record(GroupLeased{key.number, g.lease_id, lease.attempt, key.purpose, g.policy_version,
                           peers_.find(id)->hello.name, 0});
  sink_.send_lease(id, lease);
}

void GroupScheduler::give_task(const PeerId& id, const Key& key, std::int64_t now_ms) {
  Group& g = group(key);
  hold(g, key, id, now_ms);
  g.stage = Stage::kScoring;
  ScoreTask task;
  task.lease_id = g.lease_id;
  task.incarnation = options_.incarnation;
  task.group = key.number;
  task.purpose = key.purpose;
  task.row = g.record.row;
  for (const Completion& c : g.record.completions) {
    task.completions.push_back(c.text);
    task.token_counts.push_back(static_cast<std::uint32_t>(c.token_ids.size()));
    task.finish_reasons.push_back(c.finish_reason);
  }
  sink_.send_task(id, task);
}

void GroupScheduler::hold(Group& g, const Key& key, const PeerId& id, std::int64_t now_ms) {
  g.lease_id = (options_.incarnation << kCounterBits) | next_lease_++;
  g.holder = id;
  g.since_ms = now_ms;
  g.deadline_ms = now_ms + options_.lease_ms;
  g.progress = 0;
  leases_[g.lease_id] = key;
  peers_.find(id)->leases.insert(g.lease_id);
}

void GroupScheduler::release(Group& g) {
  leases_.erase(g.lease_id);
  if (Peer* peer = peers_.find(g.holder)) peer->leases.erase(g.lease_id);
}

void GroupScheduler::take_back(Key key, const std::string& reason, bool revoke) {
  Group& g = group(key);
  if (revoke) sink_.send_revoke(g.holder, {g.lease_id});
  release(g);
  sink_.record(LeaseLost{key.number, key.purpose, g.lease_id, reason});
  if (g.stage == Stage::kLeased) {
    reopen(g);
  } else {
    g.stage = Stage::kToScore;
    to_score_.push_front(key);
  }
}

void GroupScheduler::reopen(Group& g) {
  g.stage = Stage::kOpen;
  g.record = GroupRecord{};
  g.failed_scorings = 0;
}

// --- Results ---

GroupScheduler::Group* GroupScheduler::held(const PeerId& id, std::uint64_t lease_id, Purpose purpose,
                                            std::uint64_t number, Stage stage) {
  const auto found = leases_.find(lease_id);
  if (found == leases_.end() || found->second != Key{purpose, number}) return nullptr;
  Group& g = group(found->second);
  return g.holder == id && g.stage == stage ? &g : nullptr;
}

void GroupScheduler::decline(const PeerId& id, std::uint64_t lease_id, const std::string& reason, std::int64_t now_ms) {
  const auto found = leases_.find(lease_id);
  if (found == leases_.end() || group(found->second).holder != id) return;  // taken back meanwhile
  const Key key = found->second;
  const Peer& peer = *peers_.find(id);
  sink_.warn(peer.describe() + " declines group " + std::to_string(key.number) + ": " + reason);
  take_back(key, peer.hello.name + ": declined, " + reason, false);
  fault(id, now_ms);
}

void GroupScheduler::end_lease(Group& g, const Key& key, const PeerId& id, const std::string& problem, std::int64_t now_ms) {
  if (!problem.empty()) {
    take_back(key, peers_.find(id)->hello.name + ": refused, " + problem, true);
    fault(id, now_ms);
    throw ProtocolError(problem);
  }
  release(g);
  peers_.find(id)->faults = 0;
}

bool GroupScheduler::take_rollout(const PeerId& id, RolloutGroup rollout, std::int64_t now_ms) {
  Group* g = held(id, rollout.lease_id, rollout.purpose, rollout.group, Stage::kLeased);
  if (g == nullptr) return false;
  const Key key{rollout.purpose, rollout.group};
  const bool evaluate = key.purpose == Purpose::kEvaluate;
  LeaseTerms terms{evaluate ? 1 : options_.group_size, options_.sampling.max_tokens, g->policy_version,
                   g->policy_version, options_.vocabulary};
  if (!evaluate && options_.max_lag > 0) terms.highest_version = *newest_version_;
  end_lease(*g, key, id, problem_of(rollout, terms), now_ms);
  last_rollout_ms_ = now_ms;
  g->record.completions = std::move(rollout.completions);
  g->record.actor = peers_.find(id)->hello.name;
  g->lowest_version = lowest_version(g->record);
  std::uint64_t tokens = 0;
  for (const Completion& c : g->record.completions) tokens += c.token_ids.size();
  sink_.record(GroupRolledOut{key.number, key.purpose, g->lease_id, g->lowest_version, tokens});
  if (!evaluate && too_stale(g->lowest_version)) {
    refuse(key.number, "stale", true);
  } else {
    g->stage = Stage::kToScore;
    to_score_.push_back(key);
  }
  return true;
}

bool GroupScheduler::take_scores(const PeerId& id, ScoredGroup scored, std::int64_t now_ms) {
  Group* g = held(id, scored.lease_id, scored.purpose, scored.group, Stage::kScoring);
  if (g == nullptr) return false;
  const Key key{scored.purpose, scored.group};
  end_lease(*g, key, id, problem_of(scored, g->record.completions.size()), now_ms);
  last_scores_ms_ = now_ms;
  g->record.scores = std::move(scored.scores);
  g->record.rewarder = peers_.find(id)->hello.name;
  const auto& scores = g->record.scores;
  if (std::any_of(scores.begin(), scores.end(), [](const Score& s) { return !s.reward; })) {
    scoring_failed(key);
  } else {
    settle(key);
  }
  return true;
}

void GroupScheduler::scoring_failed(const Key& key) {
  Group& g = group(key);
  const std::string who = "group " + std::to_string(key.number) + ": a verifier failed at " + g.record.rewarder;
  if (g.failed_scorings++ == 0) {
    sink_.warn(who + "; it is scored again");
    g.stage = Stage::kToScore;
    to_score_.push_back(key);
  } else if (key.purpose == Purpose::kEvaluate) {
    sink_.warn(who + " again; it is evaluated without a reward");
    settle(key);
  } else if (++g.failed_generations <= kRegenerations) {
    sink_.warn(who + " again; it is generated anew");
    refuse(key.number, "failed", true);
  } else {
    sink_.warn(who + " after " + std::to_string(kRegenerations) + " new generations; the prompt is given up");
    g.stage = Stage::kFailed;
    options_.max_lag == 0 ? decide_in_order() : refuse(key.number, "failed", false);
  }
}

}  // namespace troupe
