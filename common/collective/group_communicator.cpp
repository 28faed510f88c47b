#include "common/collective/group_communicator.h"

#include <algorithm>
#include <utility>

#include "common/base/error.h"

namespace troupe {
namespace {

int place_among(const std::vector<int>& members, int rank) {
  const auto found = std::find(members.begin(), members.end(), rank);
  check(found != members.end(), "a rank makes the group that it is in");
  return static_cast<int>(found - members.begin());
}

}  // namespace

GroupCommunicator::GroupCommunicator(RankOrderCommunicator& whole, std::vector<int> members)
    : RankOrderCommunicator(place_among(members, whole.rank()), static_cast<int>(members.size()), whole.deadline_s()),
      whole_(whole),
      members_(std::move(members)) {}

void GroupCommunicator::exchange(const PieceHeader& header, std::span<const Outgoing> out, std::span<const Incoming> in) {
  std::vector<Outgoing> outgoing(out.begin(), out.end());
  std::vector<Incoming> incoming(in.begin(), in.end());
  for (Outgoing& each : outgoing) each.peer = members_[static_cast<std::size_t>(each.peer)];
  for (Incoming& each : incoming) each.peer = members_[static_cast<std::size_t>(each.peer)];
  whole_.exchange_for(*this, header, outgoing, incoming);
}

}  // namespace troupe
