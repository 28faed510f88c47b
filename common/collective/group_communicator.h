#pragma once

#include <vector>

#include "common/collective/rank_order_communicator.h"

namespace troupe {

/// Some of the ranks of another communicator, which moves their bytes: Communicator::split.
class GroupCommunicator final : public RankOrderCommunicator {
 public:
  /// Refers to `whole`; `members` are its ranks, ascending, this one among them. Not collective.
  GroupCommunicator(RankOrderCommunicator& whole, std::vector<int> members);

  /// That of `whole` too: it does the waiting.
  void wait_with(const Patience* patience) override { whole_.wait_with(patience); }
  double waited_s() const override { return whole_.waited_s(); }
  void add_wait(double seconds) override { whole_.add_wait(seconds); }

 private:
  void exchange(const PieceHeader& header, std::span<const Outgoing> out, std::span<const Incoming> in) override;

  RankOrderCommunicator& whole_;
  const std::vector<int> members_;
};

}  // namespace troupe
