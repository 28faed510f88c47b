#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace troupe {

// What peers say to the hub and the hub to them beside the groups themselves. All of it over one ROUTER (hub) and a DEALER
// for each peer; any message counts as a sign of life.

enum class Role : std::uint8_t { kLearner = 0, kActor = 1, kRewarder = 2 };
const char* name_of(Role role);

/// First message of a peer.
struct Hello {
  Role role = Role::kActor;
  std::string name;  // "actor 1 @host", unique by pid
  std::string host;
  std::uint64_t pid = 0;
  std::uint32_t rank = 0;   // learner ranks; else the index, for logs
  std::string token;        // RUN/hub.token where the hub demands it
  bool operator==(const Hello&) const = default;
  void validate() const;
};

/// A small file of the model's directory (config.json, tokenizer.json …).
struct ModelFile {
  std::string name;  // a plain file name
  std::string bytes;
  bool operator==(const ModelFile&) const = default;
};

/// The hub's answer: who it is, the run's resolved configuration and, for actors, what they need of the model beside its
/// weights, so that an actor on another file system can join.
struct Welcome {
  std::uint64_t incarnation = 0;
  std::string run_id;
  std::string host;    // of the hub: equal hosts may use shared memory
  std::string config;  // print_config()
  std::vector<ModelFile> model_files;
  bool operator==(const Welcome&) const = default;
  void validate() const;
};

/// The hub will not take what was sent: the reason, and whether the peer should say Hello again or leave. From an actor: it
/// cannot carry out the lease `lease_id`.
struct Refusal {
  std::string reason;
  bool register_again = false;
  std::uint64_t lease_id = 0;
  bool operator==(const Refusal&) const = default;
  void validate() const;
};

/// How many groups (actor) or tasks (rewarder) the peer can hold at once. The hub never has more outstanding with it.
struct Credit {
  std::uint32_t groups = 0;
  bool operator==(const Credit&) const = default;
  void validate() const;
};

struct LeaseProgress {
  std::uint64_t lease_id = 0;
  std::uint64_t tokens = 0;  // generated so far, over all samples; from a rewarder: completions scored
  bool operator==(const LeaseProgress&) const = default;
};

/// Sent by every peer each third of deadline.heartbeat_s; the hub answers with its own (empty) one.
struct Heartbeat {
  std::uint64_t policy_version = 0;  // actors: the version in use
  double tokens_per_s = 0;
  std::vector<LeaseProgress> leases;
  double weights_stall_s = 0;  // actors: how long generation stood still for the version in use
  bool operator==(const Heartbeat&) const = default;
  void validate() const;
};

/// The hub has the result: the peer may forget it.
struct Accepted {
  std::uint64_t lease_id = 0;
  bool operator==(const Accepted&) const = default;
  void validate() const;
};

/// Give up these leases; their results would be refused.
struct Revoke {
  std::vector<std::uint64_t> lease_ids;
  bool operator==(const Revoke&) const = default;
  void validate() const;
};

/// The run is over or stops for now: leave with `exit_code`.
struct Shutdown {
  std::int32_t exit_code = 0;
  std::string reason;
  bool operator==(const Shutdown&) const = default;
  void validate() const;
};

/// Why a peer leaves that the hub has sent away: its answer to Shutdown.
inline constexpr const char* kDismissed = "dismissed";

/// A peer leaves; its leases are given to others.
struct Goodbye {
  std::string reason;
  bool operator==(const Goodbye&) const = default;
  void validate() const;
};

/// A learner rank's progress, every second from a thread of its own; the hub answers with those of all the other ranks.
struct LearnerBeat {
  std::uint32_t rank = 0;
  std::uint64_t pid = 0;
  std::int64_t step = 0;
  std::string phase;           // "waiting for the next step", "optimizer", "checkpoint" …
  bool lengthy = false;        // the phase may take deadline.phase_s
  std::uint64_t sequence = 0;  // of its collectives
  bool stop = false;           // it was told to stop (SIGTERM, SIGUSR1): rank 0 then stops all of them
  std::uint64_t age_ms = 0;    // from the hub: how long ago it heard this
  bool operator==(const LearnerBeat&) const = default;
  void validate() const;
};

/// One rank's part of a step, already encoded (learner/packer.h); hub (rank 0) to the other learner ranks.
struct StepShard {
  std::int64_t step = 0;
  std::string body;
  bool operator==(const StepShard&) const = default;
  void validate() const;
};

}  // namespace troupe
