#pragma once

#include <mpi.h>

#include <cstddef>
#include <vector>

#include "common/collective/rank_order_communicator.h"

namespace troupe {

/// Learner ranks of an MPI job. MPI only moves bytes, without blocking; a wait spins for 50 µs and then sleeps for 20
/// µs, doubling to 500 µs, since a rank that spins takes the cores that actors on the same machine need.
class MpiCommunicator final : public RankOrderCommunicator {
 public:
  /// Collective over `world_ranks` (of MPI_COMM_WORLD, ascending, this process's among them) and over no other rank.
  /// Blocks without a deadline of its own: MpiEnvironment's watchdog guards it. @throws DeviceError.
  MpiCommunicator(const std::vector<int>& world_ranks, double deadline_s);

 private:
  struct Transfers;

  void exchange(const PieceHeader& header, std::span<const Outgoing> out, std::span<const Incoming> in) override;
  void release() override;
  void start(Transfers& transfers, const PieceHeader& header, std::span<const Outgoing> out,
             std::span<const Incoming> in) const;
  void finish(Transfers& transfers, const PieceHeader& header) const;
  /// Tests the open transfers once and checks what has arrived; how many have ended.
  std::size_t advance(Transfers& transfers, const PieceHeader& header) const;
  void demand(int mpi_code, const char* call) const;

  MPI_Comm communicator_;
};

}  // namespace troupe
