#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/collective/communicator.h"
#include "common/collective/patience.h"
#include "common/config/config.h"
#include "common/messages/control.h"

namespace troupe {

/// What a learner rank does at its own pace, without a sign from inside: loading, writing, its start.
enum class Pace { kOrdinary, kLengthy };

/// What every learner rank is doing, as far as this one knows: its own state, set by its training thread, and the beats of the
/// others, which come through the hub in rank 0 each second. The collectives wait by it: for a rank that is heard of and moves
/// on (another step, phase or collective) within deadline.collective_s, within deadline.phase_s in a lengthy phase; a rank that
/// is not heard of at all has deadline.collective_s. Before the ranks talk, only this rank's own phase counts. Any thread.
class RankBoard final : public Patience {
 public:
  RankBoard(std::uint32_t rank, const DeadlineConfig& deadline, Communicator& communicator, const Clock& clock);
  ~RankBoard() override;
  RankBoard(const RankBoard&) = delete;
  RankBoard& operator=(const RankBoard&) = delete;

  /// What this rank does from now on.
  void set(std::int64_t step, std::string phase, Pace pace = Pace::kOrdinary);

  /// This rank was told to stop; the others learn of it with its next beat.
  void tell_to_stop();
  /// Whether this rank, or another as its beat says, was told to stop.
  bool told_to_stop() const;

  /// Another rank's beat, heard of `beat.age_ms` ago.
  void heard(const LearnerBeat& beat);

  /// This rank's beat.
  LearnerBeat own() const;
  /// The beats of this rank and of all that were heard of, except `reader`'s own, with their present age.
  std::vector<LearnerBeat> beats_for(std::uint32_t reader) const;

  double left_s(int peer, double waited_s) const override;
  std::string last_seen(int rank) const override;

 private:
  struct Seen {
    LearnerBeat beat;
    std::int64_t heard_ms = 0;
    std::int64_t changed_ms = 0;  // when its step, phase or collective last became another
  };
  LearnerBeat own_locked() const;

  const std::uint32_t rank_;
  const DeadlineConfig deadline_;
  Communicator& communicator_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::int64_t step_ = 0;
  std::string phase_ = "start";
  Pace pace_ = Pace::kLengthy;
  bool stop_ = false;
  std::map<std::uint32_t, Seen> others_;
};

}  // namespace troupe
