// The second half of GroupScheduler: what becomes of scored groups, and its status in words.

#include <algorithm>

#include "common/base/error.h"
#include "learner/hub/group_scheduler.h"

namespace troupe {

void GroupScheduler::restore(GroupRecord record) {
  const std::uint64_t number = record.group;
  Group& g = train_.at(number);
  g.lowest_version = lowest_version(record);
  const bool synchronous = options_.max_lag == 0;
  const bool fits = synchronous ? g.lowest_version == chosen_step_ && ready_.size() < options_.batch_prompts
                                : !too_stale(g.lowest_version);
  if (!fits) {
    refuse(number, "stale", true);
    return;
  }
  g.record = std::move(record);
  g.stage = Stage::kScored;
  synchronous ? decide_in_order() : accept(number);
}

void GroupScheduler::forget_restored() {
  for (const Ready& r : ready_) {
    train_[r.record.group].attempts = r.attempts;
    refuse(r.record.group, "stale", true);
  }
  ready_.clear();
  for (auto& [number, g] : train_) return_to_front(number, "the weights of its version are others now");
}

bool GroupScheduler::filtered(const GroupRecord& record) const {
  if (!options_.dynamic_sampling) return false;
  const auto& scores = record.scores;
  return std::all_of(scores.begin(), scores.end(), [&](const Score& s) { return s.reward == scores.front().reward; });
}

void GroupScheduler::settle(const Key& key) {
  Group& g = group(key);
  g.stage = Stage::kScored;
  sink_.log_scored(g.record);
  if (key.purpose == Purpose::kEvaluate) return;
  if (options_.max_lag == 0) {
    decide_in_order();
  } else if (filtered(g.record)) {
    refuse(key.number, "filtered", false);
  } else {
    accept(key.number);
  }
}

void GroupScheduler::accept(std::uint64_t number) {
  Group& g = train_.at(number);
  ready_.push_back({std::move(g.record), g.lowest_version, g.attempts});
  train_.erase(number);
}

void GroupScheduler::decide_in_order() {
  while (ready_.size() < options_.batch_prompts && !train_.empty()) {
    const std::uint64_t number = train_.begin()->first;
    const Group& front = train_.begin()->second;
    if (front.stage == Stage::kFailed) {
      refuse(number, "failed", false);
    } else if (front.stage != Stage::kScored) {
      return;
    } else if (filtered(front.record)) {
      refuse(number, "filtered", false);
    } else {
      accept(number);
    }
  }
  if (ready_.size() < options_.batch_prompts) return;
  for (auto& [number, g] : train_) return_to_front(number, "surplus of step " + std::to_string(chosen_step_ + 1));
}

void GroupScheduler::refuse(std::uint64_t number, const std::string& reason, bool again) {
  sink_.record(GroupRefused{number, reason, again});
  if (again) {
    reopen(train_.at(number));
  } else {
    train_.erase(number);
  }
}

void GroupScheduler::return_to_front(std::uint64_t number, const std::string& lease_reason) {
  const Key key{Purpose::kTrain, number};
  Group& g = train_.at(number);
  if (g.stage == Stage::kOpen) return;
  if (g.stage == Stage::kLeased) {
    take_back(key, lease_reason, true);
    return;
  }
  if (g.stage == Stage::kScoring) {
    sink_.send_revoke(g.holder, {g.lease_id});
    release(g);
  }
  std::erase(to_score_, key);
  refuse(number, "stale", true);
}

std::vector<std::uint64_t> GroupScheduler::batch() const {
  std::vector<std::uint64_t> numbers;
  if (ready_.size() < options_.batch_prompts) return numbers;
  for (std::size_t i = 0; i < options_.batch_prompts; ++i) numbers.push_back(ready_[i].record.group);
  return numbers;
}

std::vector<GroupRecord> GroupScheduler::take_batch() {
  check(ready_.size() >= options_.batch_prompts, "a batch was taken that is not complete");
  std::vector<GroupRecord> records;
  for (std::size_t i = 0; i < options_.batch_prompts; ++i) {
    records.push_back(std::move(ready_.front().record));
    ready_.pop_front();
  }
  ++chosen_step_;
  drop_stale();
  if (chosen_step_ >= static_cast<std::uint64_t>(options_.steps)) {
    for (auto& [number, g] : train_) {
      if (g.stage == Stage::kLeased) return_to_front(number, "the last batch is chosen");
    }
  }
  return records;
}

void GroupScheduler::drop_stale() {
  for (auto& [number, g] : train_) {
    const bool rolled_out = g.stage != Stage::kOpen && g.stage != Stage::kLeased;
    if (rolled_out && too_stale(g.lowest_version)) return_to_front(number, "stale");
  }
  std::deque<Ready> kept;
  for (Ready& r : ready_) {
    if (too_stale(r.lowest_version)) {
      train_[r.record.group].attempts = r.attempts;
      refuse(r.record.group, "stale", true);
    } else {
      kept.push_back(std::move(r));
    }
  }
  ready_ = std::move(kept);
}

void GroupScheduler::published(std::uint64_t version) {
  check(!newest_version_ || version >= *newest_version_, "an older version was published after a newer one");
  newest_version_ = version;
}

void GroupScheduler::begin_evaluation(std::uint64_t version, std::size_t prompts) {
  check(!evaluation_version_, "a second evaluation was begun before the first was done");
  evaluation_version_ = version;
  evaluate_.clear();
  for (std::size_t row = 0; row < prompts; ++row) evaluate_[row];
}

std::optional<std::vector<GroupRecord>> GroupScheduler::take_evaluation() {
  const auto done = [](const auto& entry) { return entry.second.stage == Stage::kScored; };
  if (!evaluation_version_ || !std::all_of(evaluate_.begin(), evaluate_.end(), done)) return std::nullopt;
  std::vector<GroupRecord> records;
  for (auto& [row, g] : evaluate_) records.push_back(std::move(g.record));
  evaluate_.clear();
  evaluation_version_.reset();
  return records;
}

std::int64_t GroupScheduler::count(Stage stage) const {
  const auto in_stage = [&](const auto& entry) { return entry.second.stage == stage; };
  return std::count_if(train_.begin(), train_.end(), in_stage) +
         std::count_if(evaluate_.begin(), evaluate_.end(), in_stage);
}

std::int64_t GroupScheduler::leased() const { return count(Stage::kLeased); }
std::int64_t GroupScheduler::scoring() const { return count(Stage::kToScore) + count(Stage::kScoring); }
std::int64_t GroupScheduler::scored() const {
  return count(Stage::kScored) + count(Stage::kFailed) + static_cast<std::int64_t>(ready_.size());
}

std::string GroupScheduler::slowest(Stage stage, Role role, std::int64_t now_ms) const {
  const Group* oldest = nullptr;
  for (const auto* all : {&train_, &evaluate_}) {
    for (const auto& [number, g] : *all) {
      if (g.stage == stage && (oldest == nullptr || g.since_ms < oldest->since_ms)) oldest = &g;
    }
  }
  if (oldest == nullptr) return "none of them has room";
  const std::int64_t last = role == Role::kActor ? last_rollout_ms_ : last_scores_ms_;
  const std::int64_t idle_s = (now_ms - std::max(last, oldest->since_ms)) / 1000;
  return "none finished for " + std::to_string(idle_s) + " s: slowest " + peers_.find(oldest->holder)->describe();
}

std::string GroupScheduler::waiting_for(const std::string& endpoint, std::int64_t now_ms) const {
  const bool batch_complete = ready_.size() >= options_.batch_prompts;
  if (!newest_version_ || (!evaluation_version_ && batch_complete)) return "";
  const auto start_one = [&](const char* role) {
    return std::string("no ") + role + " is connected: start one with `troupe " + role + " CONFIG --hub " + endpoint +
           "`";
  };
  const auto connected = [](int n, const char* role) {
    return std::to_string(n) + " " + role + (n == 1 ? "" : "s") + " connected, ";
  };
  const int actors = peers_.count(Role::kActor);
  const int rewarders = peers_.count(Role::kRewarder);
  const std::int64_t waiting = scoring();
  if (waiting > 0 && rewarders == 0)
    return start_one("rewarder") + "; " + std::to_string(waiting) + " groups wait for scores";
  const bool open_evaluation = evaluation_version_ && count(Stage::kOpen) > 0;
  if (leased() > 0 || open_evaluation || may_lease_training()) {
    if (actors == 0) return start_one("actor");
    return connected(actors, "actor") + std::to_string(leased()) + " groups leased, " +
           slowest(Stage::kLeased, Role::kActor, now_ms);
  }
  if (waiting > 0) {
    return connected(rewarders, "rewarder") + std::to_string(waiting) + " groups wait for scores, " +
           slowest(Stage::kScoring, Role::kRewarder, now_ms);
  }
  return "";
}

}  // namespace troupe
