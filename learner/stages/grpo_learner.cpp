#include "learner/stages/grpo_learner.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "common/base/error.h"
#include "common/model/checkpoint_io.h"
#include "common/model/safetensors.h"
#include "learner/checkpoint.h"
#include "learner/gathered_units.h"
#include "learner/stages/start_model.h"

namespace troupe {
namespace {

/// Whether a row's bits must not depend on the rows beside it.
bool exact(const Config& config) { return config.run.exact && exactness_obstacles(config).empty(); }

constexpr const char* kReferenceFile = "reference.safetensors";  // beside the shards of a checkpoint
constexpr const char* kCriticFile = "critic.safetensors";        // likewise
constexpr const char* kReferenceName = "reference";

/// Whether the reference after a step is neither the model of the start nor that of the step, so that a checkpoint must hold it.
bool keeps_reference(const Config& config, std::int64_t step) {
  const std::int64_t every = config.loss.reference_refresh_steps;
  return every > 0 && step > every && step % every != 0;
}

}  // namespace

StepTrained step_record(std::int64_t step, const TrainStats& stats, const WeightsDigest& digest, const Config& config, int ranks) {
  return {step, digest.hash, 0, stats.loss, stats.grad_norm, ranks, config.run.steps, digest.tensors};
}

GrpoLearner::GrpoLearner(const Config& config, const RunFolder& folder, Communicator& communicator, RankBoard& board)
    : config_(config),
      folder_(folder),
      board_(board),
      start_(start_folder(config, folder)),
      initial_(load_parameters(start_, at::kFloat)),
      initial_hash_(weights_hash(initial_->layout(), initial_->flat())),
      ranks_(config, communicator),
      model_(compute_parameters(config, initial_->architecture(), ranks_), exact(config)),
      lora_(make_lora(config, *initial_, model_.parameters().flat().device())),
      optimizer_(make_optimizer(lora_, model_.parameters(), *initial_, config, ranks_.shards())) {
  if (config.loss.kl != "none" && config.loss.kl_coef > 0) {
    const bool offload = config.learners.offload == "reference" || config.learners.offload == "all";
    const Parameters frozen = compute_parameters(config, initial_->architecture(), ranks_, offload);
    set_from_whole_(frozen, initial_->flat(), ranks_.all());
    reference_.emplace(frozen, exact(config));
  }
  if (!whole() && ranks_.all().rank() == 0) {
    published_.emplace(initial_->architecture(), model_.parameters().flat().scalar_type());
    published_->flat().copy_(initial_->flat());
  }
  if (config.loss.advantage == "gae") {
    const Parameters fresh = fresh_critic(config, *initial_);
    critic_.emplace(config_, compute_parameters(config, fresh.architecture(), ranks_), fresh, ranks_.shards());
  }
  initial_.reset();
  memory_ = plan_memory(config_, model_.parameters(), ranks_.all());
  trainer_.emplace(config_, model_, reference_ ? &*reference_ : nullptr, optimizer_, ranks_.data(), lora_ ? &*lora_ : nullptr,
                   critic_ ? &*critic_ : nullptr, memory_.recompute);
}

TrainStats GrpoLearner::train(const StepPlan& plan, std::vector<UpdateTrace>* traces, bool recorded) {
  const double waited_s = ranks_.all().waited_s();
  TrainStats stats = trainer_->train(
      plan, [&](const std::string& phase) { board_.set(plan.step, phase); }, traces, recorded);
  refresh_reference(plan.step);
  publish();
  stats.collective_wait_s = ranks_.all().waited_s() - waited_s;
  return stats;
}

void GrpoLearner::publish() {
  if (whole()) return;
  const at::Tensor now = whole_of(model_.parameters(), ranks_.all());
  if (published_) published_->flat().copy_(now);
}

void GrpoLearner::refresh_reference(std::int64_t step) {
  const std::int64_t every = config_.loss.reference_refresh_steps;
  if (reference_ && every > 0 && step % every == 0) copy_(model_.parameters(), reference_->parameters());
}

void GrpoLearner::loaded(std::int64_t step) {
  if (lora_) merge_(*lora_, model_.parameters(), ranks_.all());
  if (critic_) critic_->restore(read_state(checkpoint_folder(folder_.checkpoints(), step) / kCriticFile, critic_->total()));
  refresh_reference(step);
  publish();
  if (!reference_ || !keeps_reference(config_, step)) return;
  const auto file = checkpoint_folder(folder_.checkpoints(), step) / kReferenceFile;
  set_from_whole_(reference_->parameters(), read_safetensors(file).at(kReferenceName), ranks_.all());
}

WeightsDigest GrpoLearner::digest_after(std::int64_t step) {
  return step % config_.run.hash_every == 0 || step == config_.run.steps ? digest() : WeightsDigest();
}

std::int64_t GrpoLearner::resume(const Logger& logger) {
  board_.set(0, "load checkpoint", Pace::kLengthy);
  const std::int64_t step = load_newest_checkpoint(folder_.checkpoints(), config_hash(config_), optimizer_, logger).value_or(0);
  if (step > 0) loaded(step);
  return step;
}

void GrpoLearner::load(std::int64_t step, const std::string& hash) {
  load_checkpoint(folder_.checkpoints(), step, hash, optimizer_);
  loaded(step);
}

LearnerState GrpoLearner::state() {
  LearnerState state{whole_state(optimizer_)};
  if (critic_) state.critic = critic_->state();
  const bool refreshed = reference_ && config_.loss.reference_refresh_steps > 0;
  if (!refreshed) return state;
  const at::Tensor reference = whole_of(reference_->parameters(), ranks_.all());
  if (ranks_.all().rank() == 0) state.reference = reference.clone();
  return state;
}

void GrpoLearner::restore(const LearnerState& state) {
  restore_(optimizer_, state);
  if (critic_) critic_->restore(state.critic);
  if (lora_) merge_(*lora_, model_.parameters(), ranks_.all());
  if (reference_ && state.reference.defined()) set_from_whole_(reference_->parameters(), state.reference, ranks_.all());
  publish();
}

void GrpoLearner::checkpoint(std::int64_t step, std::uint64_t ledger_bytes) {
  board_.set(step, "checkpoint", Pace::kLengthy);
  const CheckpointInfo info{step, config_hash(config_), ledger_bytes};
  const AdamState critic = critic_ ? critic_->state() : AdamState();
  const at::Tensor master = optimizer_.gather(optimizer_.master(), "master parameters");
  const bool keeps = reference_ && keeps_reference(config_, step);
  const at::Tensor reference = keeps ? whole_of(reference_->parameters(), ranks_.all()) : at::Tensor();
  save_checkpoint(folder_.checkpoints(), info, optimizer_, [&](const std::filesystem::path& folder) {
    export_model(lora_, model_.parameters().whole_architecture(), master, start_, folder);
    if (critic_) write_state(critic, folder / kCriticFile);
    if (keeps) write_safetensors(folder / kReferenceFile, {{kReferenceName, reference}});
  });
}

}  // namespace troupe
