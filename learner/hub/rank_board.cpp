#include "learner/hub/rank_board.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <tuple>
#include <utility>

namespace troupe {

RankBoard::RankBoard(std::uint32_t rank, const DeadlineConfig& deadline, Communicator& communicator, const Clock& clock)
    : rank_(rank), deadline_(deadline), communicator_(communicator), clock_(clock) {
  communicator_.wait_with(this);
}

RankBoard::~RankBoard() { communicator_.wait_with(nullptr); }

void RankBoard::set(std::int64_t step, std::string phase, Pace pace) {
  const std::lock_guard lock(mutex_);
  step_ = step;
  phase_ = std::move(phase);
  pace_ = pace;
}

void RankBoard::tell_to_stop() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
}

bool RankBoard::told_to_stop() const {
  const std::lock_guard lock(mutex_);
  return stop_ || std::any_of(others_.begin(), others_.end(), [](const auto& other) { return other.second.beat.stop; });
}

void RankBoard::heard(const LearnerBeat& beat) {
  const std::lock_guard lock(mutex_);
  const std::int64_t now_ms = clock_.now_ms();
  Seen& seen = others_[beat.rank];
  const auto state = [](const LearnerBeat& b) { return std::tie(b.pid, b.step, b.phase, b.sequence); };
  if (seen.heard_ms == 0 || state(seen.beat) != state(beat)) seen.changed_ms = now_ms;
  seen.beat = beat;
  seen.heard_ms = std::max(seen.heard_ms, now_ms - static_cast<std::int64_t>(beat.age_ms));
}

LearnerBeat RankBoard::own_locked() const {
  return {.rank = rank_,
          .pid = static_cast<std::uint64_t>(getpid()),
          .step = step_,
          .phase = phase_,
          .lengthy = pace_ == Pace::kLengthy,
          .sequence = communicator_.progress().sequence,
          .stop = stop_};
}

LearnerBeat RankBoard::own() const {
  const std::lock_guard lock(mutex_);
  return own_locked();
}

std::vector<LearnerBeat> RankBoard::beats_for(std::uint32_t reader) const {
  const std::lock_guard lock(mutex_);
  std::vector<LearnerBeat> beats = {own_locked()};
  for (const auto& [rank, seen] : others_) {
    if (rank == reader) continue;
    beats.push_back(seen.beat);
    beats.back().age_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(0, clock_.now_ms() - seen.heard_ms));
  }
  return beats;
}

double RankBoard::left_s(int peer, double waited_s) const {
  const std::lock_guard lock(mutex_);
  const auto allowed_s = [&](bool lengthy) {
    return lengthy ? std::max(deadline_.phase_s, deadline_.collective_s) : deadline_.collective_s;
  };
  const auto found = others_.find(static_cast<std::uint32_t>(peer));
  if (found == others_.end()) return allowed_s(pace_ == Pace::kLengthy) - waited_s;
  const auto ago_s = [&](std::int64_t ms) { return static_cast<double>(clock_.now_ms() - ms) / 1000.0; };
  const Seen& seen = found->second;
  const double silent_s = std::min(waited_s, ago_s(seen.heard_ms));
  const double unchanged_s = std::min(waited_s, ago_s(seen.changed_ms));
  return std::min(deadline_.collective_s - silent_s, allowed_s(seen.beat.lengthy) - unchanged_s);
}

std::string RankBoard::last_seen(int rank) const {
  const std::lock_guard lock(mutex_);
  const auto text = [](const LearnerBeat& beat) { return "step " + std::to_string(beat.step) + ", " + beat.phase; };
  if (static_cast<std::uint32_t>(rank) == rank_) return text(own_locked());
  const auto found = others_.find(static_cast<std::uint32_t>(rank));
  if (found == others_.end()) return "not heard of yet";
  const Seen& seen = found->second;
  char ago[48];
  std::snprintf(ago, sizeof ago, "heard of %.1f s ago", static_cast<double>(clock_.now_ms() - seen.heard_ms) / 1000.0);
  return text(seen.beat) + ", pid " + std::to_string(seen.beat.pid) + ", " + ago;
}

}  // namespace troupe
