#pragma once

#include <array>
#include <cstddef>
#include <string_view>

// Where tests make a process fail: `fault::point("ledger.append.before")`. In the program `troupe` these functions do nothing,
// and the names are gone once it is compiled. The tests and the program `troupe_faulty` are linked with tests/faults/injection.cpp,
// whose definitions take their place.

namespace troupe::fault {

/// Every fault point, by who reaches it. tests/faults/run_table.py has a scenario for each.
inline constexpr std::array<std::string_view, 56> kPoints = {
    // Files of any role: before each system call that changes one.
    "file.write",
    "file.fsync",
    "file.rename",
    "file.unlink",
    // Messages: before each send, after each receive.
    "hub.send",
    "hub.receive",
    "peer.send",
    "peer.receive",
    // Learner ranks.
    "start.begin",
    "start.end",
    "collective.begin",
    "collective.inside",
    "collective.end",
    "collective.nccl",  // the ranks have met, the operation between the GPUs follows
    "learner.step.begin",
    "learner.forward",
    "learner.backward",
    "learner.optimizer",
    "learner.updated",
    "learner.step.end",
    "learner.gradient",  // spoilt: a NaN in this rank's gradient
    "learner.order",
    "checkpoint.begin",
    "checkpoint.shard",
    "checkpoint.export",
    "checkpoint.rename",
    "checkpoint.done",
    "checkpoint.end",
    "checkpoint.retire",
    // Learner rank 0.
    "frame.inside",  // between a frame's header and its body, in ledger and rollout log alike
    "ledger.append.before",
    "ledger.append.after",
    "ledger.sync.before",
    "ledger.sync.after",
    "rollouts.append.before",
    "rollouts.append.after",
    "rollouts.sync.after",
    "batch.recorded",
    "publish.before",
    "publish.inside",
    "publish.after",
    "evaluation.before",
    "evaluation.after",
    "end.before",
    "end.recorded",
    "end.after",
    // Actors.
    "actor.lease",
    "actor.weights.inside",
    "actor.weights",
    "actor.generate",
    "actor.slot_seed",  // spoilt: a draw depends on its place in the batch
    "actor.result.before",
    "actor.result.after",
    // Rewarders.
    "rewarder.task",
    "rewarder.result.before",
    "rewarder.result.after",
};

/// A name of kPoints; any other does not compile.
struct Point {
  consteval Point(const char* name) : number(0) {  // NOLINT: a name is a point
    while (kPoints[number] != std::string_view(name)) ++number;
  }
  std::size_t number;
};

/// Says which process this is ("learner", 0), once, before its first point.
void identify(std::string_view role, int rank);

/// The process gets here: a test may kill, stop or delay it here, or have a TransportError thrown. Any thread.
void point(Point point);

/// Whether a test wants the value at hand spoilt. Any thread.
bool spoilt(Point point);

}  // namespace troupe::fault
