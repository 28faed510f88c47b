#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/logger.h"
#include "common/collective/communicator.h"
#include "common/config/config.h"
#include "common/config/run_folder.h"
#include "common/model/parameters.h"
#include "common/model/transformer.h"
#include "learner/adam_state.h"
#include "learner/critic.h"
#include "learner/hub/ledger.h"
#include "learner/hub/rank_board.h"
#include "learner/lora.h"
#include "learner/memory_plan.h"
#include "learner/sharded_optimizer.h"
#include "learner/stages/learner_ranks.h"
#include "learner/state_hash.h"
#include "learner/trainer.h"

namespace troupe {

/// What a learner is between two steps, whatever the number of its ranks; what is trained is laid out as lora.h says.
struct LearnerState : AdamState {
  AdamState critic = {};      // where there is one
  at::Tensor reference = {};  // in the compute dtype; undefined where it is the model of the start, or there is none
};

/// A trained step as the ledger records it.
StepTrained step_record(std::int64_t step, const TrainStats& stats, const WeightsDigest& digest, const Config& config, int ranks);

/// The model, its optimizer and trainer on one learner rank: what is the same on rank 0 and the others, in a run and in its
/// replay. One thread at a time; borrows everything that it is given.
class GrpoLearner {
 public:
  /// Loads the model that the run starts from (start_folder). Collective as LearnerRanks. @throws ConfigError. From now on the communicator
  /// is used through it alone until it is gone.
  GrpoLearner(const Config& config, const RunFolder& folder, Communicator& communicator, RankBoard& board);

  /// The Hugging Face directory that the run starts from.
  const std::filesystem::path& start() const { return start_; }
  /// The ranks that each train data of their own.
  Communicator& data_ranks() { return ranks_.data(); }
  /// The whole model; where ranks have slices or parts of it only rank 0 has it, as it was after the last step that this did or loaded.
  const Parameters& parameters() const { return published_ ? *published_ : model_.parameters(); }
  const std::string& initial_hash() const { return initial_hash_; }
  const MemoryPlan& memory() const { return memory_; }

  /// Collective. The step's statistics, the same on every rank. `traces` as in Trainer::train.
  TrainStats train(const StepPlan& plan, std::vector<UpdateTrace>* traces = nullptr) { return train(plan, traces, false); }
  /// The same for a recorded step, whose samples another number of ranks may have led to.
  TrainStats roll_forward(const StepPlan& plan) { return train(plan, nullptr, true); }

  /// Collective; of the master weights on rank 0, empty on the others.
  WeightsDigest digest() { return weights_digest(optimizer_); }
  /// The same after a step of a run; empty where run.hash_every leaves the step out.
  WeightsDigest digest_after(std::int64_t step);

  /// Collective; on rank 0, "" on the others.
  std::string final_hash_of(std::span<const TrainedStep> steps) { return final_hash(optimizer_, steps); }

  /// Collective. Loads the newest checkpoint that verifies; its step, or 0.
  std::int64_t resume(const Logger& logger);

  /// Collective. Loads the checkpoint of `step`, written under this configuration hash. @throws ConfigError naming its damage.
  void load(std::int64_t step, const std::string& hash);

  /// Collective. The state on rank 0, undefined tensors on the others.
  LearnerState state();
  /// Collective.
  void restore(const LearnerState& state);

  /// Collective. Writes checkpoints/step-N with its hf/ folder; `ledger_bytes` counts on rank 0.
  void checkpoint(std::int64_t step, std::uint64_t ledger_bytes);

 private:
  /// What follows from optimizer and step after loading checkpoint `step`: the model, and the reference.
  void loaded(std::int64_t step);
  void refresh_reference(std::int64_t step);
  TrainStats train(const StepPlan& plan, std::vector<UpdateTrace>* traces, bool recorded);
  /// Whether each rank has all parameters.
  bool whole() const { return !model_.parameters().sharded() && model_.parameters().cut() == nullptr; }
  /// Collective. Puts the model as it is now where parameters() has it.
  void publish();

  const Config& config_;
  const RunFolder& folder_;
  RankBoard& board_;
  std::filesystem::path start_;
  std::optional<Parameters> initial_;  // fp32; while the learner is made
  std::string initial_hash_;
  LearnerRanks ranks_;
  Transformer model_;
  std::optional<LoraAdapters> lora_;
  ShardedOptimizer optimizer_;
  std::optional<Transformer> reference_;
  std::optional<Critic> critic_;
  std::optional<Parameters> published_;  // where ranks have slices or parts, on rank 0
  MemoryPlan memory_;
  std::optional<Trainer> trainer_;
};

}  // namespace troupe
