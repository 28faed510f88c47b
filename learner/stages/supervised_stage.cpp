#include "learner/stages/supervised_stage.h"

#include <cstdio>
#include <iostream>
#include <map>
#include <optional>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/metric_names.h"
#include "common/model/checkpoint_io.h"
#include "learner/checkpoint.h"
#include "learner/gathered_units.h"
#include "learner/memory_plan.h"
#include "learner/stages/dpo.h"
#include "learner/stages/progress.h"
#include "learner/stages/stage_record.h"
#include "learner/stages/start_model.h"
#include "learner/state_hash.h"

namespace troupe {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitResumable = 75;

using Values = std::map<std::string, double>;

/// A rank of a supervised stage, from its model on. `record` is rank 0's.
class Stage {
 public:
  Stage(const StageOptions& options, const std::filesystem::path& start, StageRecord* record, Communicator& communicator,
        const Logger& logger)
      : options_(options),
        config_(options.config),
        start_(start),
        record_(record),
        logger_(logger),
        display_(config_.run.steps, options.terminal),
        units_(open_units(options.kind, config_, start, record != nullptr, logger)),
        initial_(load_parameters(start, at::kFloat)),
        ranks_(config_, communicator),
        communicator_(ranks_.all()),
        model_(compute_parameters(config_, initial_->architecture(), ranks_), false),
        lora_(make_lora(config_, *initial_, model_.parameters().flat().device())),
        optimizer_(make_optimizer(lora_, model_.parameters(), *initial_, config_, ranks_.shards())),
        objective_(objective()),
        memory_(plan_memory(config_, model_.parameters(), communicator_)),
        trainer_(model_, optimizer_,
                 {config_.batch.prompts, config_.batch.micro_tokens, units_.train, objective_, zero_stage_of(config_, communicator_),
                  memory_.recompute, config_.batch.share_prompts},
                 ranks_.data(), lora_ ? &*lora_ : nullptr) {
    if (record_ != nullptr) logger_.info(memory_.text());
  }

  int run() {
    step_ = load_newest_checkpoint(options_.folder.checkpoints(), config_hash(config_), optimizer_, logger_).value_or(0);
    checkpointed_ = step_;
    if (lora_) merge_(*lora_, model_.parameters(), communicator_);
    if (record_ != nullptr) record_->begin(weights_hash(initial_->layout(), initial_->flat()), step_);
    initial_.reset();
    if (step_ == 0) write(evaluated());
    while (step_ < config_.run.steps) {
      if (any_rank(options_.stop && options_.stop(), communicator_)) return stop();
      train();
      if (skipped_in_row_ >= config_.run.max_skipped) return give_up();
      if (step_ % config_.checkpoint.every == 0) checkpoint();
    }
    checkpoint();
    const std::string hash = final_hash(optimizer_, {});
    if (record_ == nullptr) return 0;
    record_->write_summary(step_, hash);
    display_.note("final_hash " + hash);
    return 0;
  }

 private:
  SupervisedObjective objective() {
    if (options_.kind != SupervisedKind::kDpo) return next_token_objective();
    if (config_.learners.offload == "reference" || config_.learners.offload == "all") {
      throw ConfigError("learners.offload = " + config_.learners.offload + ": expected none or optimizer, dpo needs its reference beside the model");
    }
    const Parameters frozen = compute_parameters(config_, initial_->architecture(), ranks_);
    set_from_whole_(frozen, initial_->flat(), communicator_);
    reference_.emplace(frozen, false);
    return dpo_objective(*reference_, config_.dpo.beta, config_.batch.share_prompts);
  }

  void train() {
    ++step_;
    const std::int64_t start_ms = SteadyClock().now_ms();
    std::optional<UpdateTrace> trace;
    if (!options_.dump.empty() && !dumped_) trace.emplace();
    const double waited_s = communicator_.waited_s();
    const SupervisedStep step = trainer_.train(step_, trace ? &*trace : nullptr);
    const double collective_wait_s = communicator_.waited_s() - waited_s;
    dumped_ = true;
    if (trace && record_ != nullptr) {
      write_dump(options_.dump, optimizer_.layout(), *trace,
                 {{"step", std::to_string(step_)}, {"update", "1"}, {"config", print_config(config_)}});
    }
    skipped_in_row_ = step.update.skipped ? skipped_in_row_ + 1 : 0;
    if (step.update.skipped) {
      bad_tensor_ = step.update.bad_tensor;
      logger_.warning("step " + std::to_string(step_) + ": the gradient of " + bad_tensor_ +
                      " is not finite, the update is left out");
    }
    const double step_s = static_cast<double>(SteadyClock().now_ms() - start_ms) / 1000.0;
    Values values = is_evaluated(step_) ? evaluated() : Values();
    for (std::size_t i = 0; i < step.means.size(); ++i) values[objective_.metrics[i]] = step.means[i];
    const auto put = [&](std::string_view name, double value) { values[std::string(name)] = value; };
    put(metric::kGradNorm, step.update.grad_norm);
    put(metric::kLr, step.update.lr);
    put(metric::kUpdatesSkipped, step.update.skipped ? 1 : 0);
    put(metric::kTokens, static_cast<double>(step.tokens));
    put(metric::kStepS, step_s);
    put(metric::kCollectiveWaitS, collective_wait_s);
    if (step_s > 0) put(metric::kTokensPerS, static_cast<double>(step.tokens) / step_s);
    write(values);
    show(step, step_s);
  }

  bool is_evaluated(std::int64_t step) const {
    return step == config_.run.steps || (config_.eval.every > 0 && step % config_.eval.every == 0);
  }

  /// The metrics on held-out units, which rank 0 also shows.
  Values evaluated() {
    Values values;
    if (units_.held_out_units == 0) return values;
    const std::vector<double> means = trainer_.evaluate(units_.held_out, units_.held_out_units);
    std::string line = "held out after step " + std::to_string(step_) + ":";
    for (std::size_t i = 0; i < means.size(); ++i) {
      values["held_out_" + objective_.metrics[i]] = means[i];
      line += "  " + objective_.metrics[i] + " " + rounded(means[i]);
    }
    if (record_ != nullptr) display_.note(line);
    return values;
  }

  void write(const Values& values) {
    if (record_ != nullptr && !values.empty()) record_->write(step_, values);
  }

  static std::string rounded(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4f", value);
    return text;
  }

  void show(const SupervisedStep& step, double step_s) {
    if (record_ == nullptr) return;
    std::string line;
    for (std::size_t i = 0; i < step.means.size(); ++i) line += objective_.metrics[i] + " " + rounded(step.means[i]) + "  ";
    char numbers[96];
    std::snprintf(numbers, sizeof numbers, "grad %.3g  lr %.3g  %.0f tok/s  %.2f s", step.update.grad_norm, step.update.lr,
                  step_s > 0 ? static_cast<double>(step.tokens) / step_s : 0.0, step_s);
    display_.line(step_, line + numbers, step_s);
  }

  void checkpoint() {
    if (checkpointed_ == step_) return;
    const at::Tensor master = optimizer_.gather(optimizer_.master(), "master parameters");
    save_checkpoint(options_.folder.checkpoints(), {step_, config_hash(config_), 0}, optimizer_,
                    [&](const std::filesystem::path& folder) { export_model(lora_, model_.parameters().whole_architecture(), master, start_, folder); });
    if (record_ != nullptr) retire_checkpoints(options_.folder.checkpoints(), config_.checkpoint);
    checkpointed_ = step_;
  }

  int stop() {
    if (step_ > 0) checkpoint();
    if (record_ != nullptr) display_.note("stopped after step " + std::to_string(step_) + "; the same command resumes");
    return kExitResumable;
  }

  int give_up() {
    logger_.error("stopping after step " + std::to_string(step_) + ": the gradient of " + bad_tensor_ + " was not finite in " +
                  std::to_string(skipped_in_row_) + " steps in a row (run.max_skipped); checkpoints/step-" + std::to_string(step_) +
                  " has the last good weights; a lower optimizer.lr may help");
    checkpoint();
    return kExitFailed;
  }

  const StageOptions& options_;
  const Config& config_;
  std::filesystem::path start_;
  StageRecord* record_;
  const Logger& logger_;
  ProgressDisplay display_;
  StageUnits units_;
  std::optional<Parameters> initial_;  // fp32; until the run begins
  LearnerRanks ranks_;
  Communicator& communicator_;  // all of them
  Transformer model_;
  std::optional<LoraAdapters> lora_;
  std::optional<Transformer> reference_;
  ShardedOptimizer optimizer_;
  SupervisedObjective objective_;
  MemoryPlan memory_;
  SupervisedTrainer trainer_;
  std::int64_t step_ = 0;
  std::int64_t checkpointed_ = 0;
  std::int64_t skipped_in_row_ = 0;
  std::string bad_tensor_;
  bool dumped_ = false;
};

}  // namespace

int run_supervised_stage(const StageOptions& options, Communicator& communicator, const Logger& logger) {
  const Config& config = options.config;
  if (config.model.path.empty() && config.cold_start.steps == 0 && options.kind != SupervisedKind::kPretrain) {
    throw ConfigError("model.path: expected a Hugging Face directory (or a [cold_start]), found none");
  }
  if (config.batch.share_prompts && options.kind != SupervisedKind::kDpo) {
    throw ConfigError("batch.share_prompts = true: expected false, the texts of this stage have no prompts in common (those of dpo have)");
  }
  config.validate_ranks(communicator.size());
  std::optional<StageRecord> record;
  if (communicator.rank() == 0) {
    record.emplace(options.kind, config, options.folder, logger);
    prepare_start(config, options.folder);
  }
  communicator.barrier();
  if (!make_start(config, options.folder, communicator, options.stop, logger)) return kExitResumable;
  return Stage(options, start_folder(config, options.folder), record ? &*record : nullptr, communicator, logger).run();
}

}  // namespace troupe
