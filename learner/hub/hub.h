#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/logger.h"
#include "common/config/config.h"
#include "common/data/rows.h"
#include "common/messages/control.h"
#include "common/messages/messages.h"
#include "common/messages/weight_manifest.h"
#include "common/transport/channel.h"
#include "learner/hub/ledger.h"
#include "learner/hub/rank_board.h"

namespace troupe {

/// A version that actors can fetch: manifest.total_bytes bytes, valid while `owner` is held.
struct PublishedWeights {
  WeightManifest manifest;
  std::string_view bytes;             // most often a mapping of the shared memory that the manifest names
  std::shared_ptr<const void> owner;  // shared by the hub's stream and the publisher; a std::string in tests
};

/// Numbers for the progress line and the metrics; a snapshot.
struct HubStatus {
  int actors = 0;
  int rewarders = 0;
  std::int64_t leased = 0;   // groups being generated
  std::int64_t scoring = 0;  // waiting for or at a rewarder
  std::int64_t scored = 0;   // waiting for the learner
  std::int64_t expired_leases = 0;
  std::int64_t refused_frames = 0;                     // bad frames, wrong and late results, strangers
  std::int64_t late_results = 0;                       // of them
  std::map<std::string, std::int64_t> refused_groups;  // by reason, those leased again included
  double actor_tokens_per_s = 0;
  double weights_stall_s = 0;  // the longest that an actor stood still for the weights in use
  std::string waiting_for;  // "no actor is connected", … or ""
};

/// An actor that can take weights over NCCL.
struct WeightTaker {
  PeerId peer;
  std::string name;         // for logs
  std::string gpu;          // gpu_name of its device
  std::uint64_t offer = 0;  // number of its offer; a new one after a failure
  bool operator==(const WeightTaker&) const = default;
};

/// How the rows become prompts: ids and the row that the rewarder sees. Given by the stage (tokenizer and template).
struct PromptSource {
  std::function<Row(std::uint64_t number)> row;
  std::function<std::vector<std::int32_t>(const Row&)> prompt_ids;
};

struct HubOptions {
  Config config;
  std::string run_dir;
  std::string run_id;
  std::uint64_t incarnation = 1;
  std::vector<std::int32_t> stop_ids;
  std::int64_t vocabulary = 0;         // token ids are below it; 0: not checked
  std::string token;                   // demanded in Hello where not empty
  std::vector<ModelFile> model_files;  // for actors' Welcome
  RankBoard* ranks = nullptr;          // told of the learner ranks' beats; null where there is one rank
};

/// Prompt order, leases, the ledger of every group and the queues, in one thread that owns the socket. The methods are
/// for the learner's side (rank 0); any thread, but one that waits at a time. Errors of the hub's thread are thrown
/// from the next call.
class Hub {
 public:
  Hub(HubOptions options, std::unique_ptr<HubChannel> channel, Ledger& ledger, PromptSource train,
      PromptSource held_out, Logger logger);
  ~Hub();

  /// Makes a version known: actors are told, leases name it. The newest two are kept for those who fetch, older ones
  /// let go.
  void publish(PublishedWeights weights);

  /// The batch of step N by the batch rule of PROTOCOL.md, in training order; its write-ahead record is in the ledger
  /// (fsync) and its rollouts are in the log when this returns. Nothing by the deadline: ask again.
  std::optional<std::vector<GroupRecord>> next_batch(std::int64_t step, Deadline deadline);

  /// Evaluates rows 0 … prompts-1 of the held-out source greedily under `version`. Call until it returns the records;
  /// then `record` an Evaluated. A score whose verifier failed twice has no reward.
  std::optional<std::vector<GroupRecord>> evaluate(std::uint64_t version, int prompts, Deadline deadline);

  /// Generates anew what an earlier attempt had scored: the weights that it was drawn from are no more. Before `publish`.
  void forget_restored();

  /// A step is trained; the time is the hub's matter. Steps rolled forward may be said again.
  void step_trained(StepTrained step);

  /// Appends a record of the stage's own (Evaluated, CheckpointWritten …) to the ledger, durably. The hub itself writes
  /// AttemptStarted where the ledger does not know its incarnation yet.
  void record(const LedgerRecord& record);

  /// Makes durable what the ledger and the rollout log have.
  void sync();

  /// Shows the ledger's state to `reader`, which must not keep it or call the hub.
  void read_ledger(const std::function<void(const LedgerState&)>& reader) const;

  /// The registered actors that take weights over NCCL.
  std::vector<WeightTaker> weight_takers() const;
  /// To a peer, in order with what `publish` says, as soon as it can be sent.
  void tell(const PeerId& peer, std::string frame);

  /// To another learner rank; false where it is not connected by the deadline.
  bool send_to_learner(std::uint32_t rank, const StepShard& shard, Deadline deadline);
  /// Also after close.
  HubStatus status() const;

  /// Ends the conversation: Shutdown to every peer, all open groups `unused` when `finished`; afterwards the ledger is
  /// the caller's again (for RunFinished). Waits at most two seconds for peers. Idempotent.
  void close(int exit_code, const std::string& reason, bool finished);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace troupe
