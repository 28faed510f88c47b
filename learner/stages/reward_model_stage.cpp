#include "learner/stages/reward_model_stage.h"

#include <array>
#include <cmath>
#include <iostream>
#include <optional>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/metric_names.h"
#include "common/base/metrics.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/model/checkpoint_io.h"
#include "common/reward_model/with_score.h"
#include "common/tokenizer/tokenizer.h"
#include "learner/checkpoint.h"
#include "learner/stages/learner_ranks.h"
#include "learner/stages/reward_rows.h"
#include "learner/stages/reward_trainer.h"
#include "learner/stages/start_model.h"
#include "learner/state_hash.h"

namespace troupe {
namespace {

constexpr int kExitResumable = 75;
constexpr const char* kScoreMargin = "score_margin";  // by how much the scores are on the right side, in the mean

/// The rank's part of a list: every size()-th, from its own number on.
std::vector<RewardExample> part_of(const std::vector<RewardExample>& all, const Communicator& ranks) {
  std::vector<RewardExample> part;
  for (auto i = static_cast<std::size_t>(ranks.rank()); i < all.size(); i += static_cast<std::size_t>(ranks.size()))
    part.push_back(all[i]);
  return part;
}

/// fp32: the reward model that training begins with.
Parameters initial_model(const Config& config) {
  if (config.learners.offload == "reference" || config.learners.offload == "all") {
    throw ConfigError("learners.offload = " + config.learners.offload + ": expected none or optimizer, a reward model has no reference");
  }
  if (config.batch.share_prompts) throw ConfigError("batch.share_prompts = true: expected false, reward models read each text by itself");
  if (config.model.path.empty()) throw ConfigError("model.path: expected a Hugging Face directory, found none");
  if (config.data.train.empty())
    throw ConfigError(
        "data.train: expected rows with \"chosen\" and \"rejected\", or with \"completion\" and \"label\", found none");
  if (read_architecture(config.model.path).scores) return load_reward_model(config.model.path, at::kFloat);
  return with_score(load_parameters(config.model.path, at::kFloat), seed_for(config.run.seed, Stream::kInitialWeights));
}

std::string rounded(double value) { return shortest(std::round(value * 1e4) / 1e4); }

class RewardModelRun {
 public:
  RewardModelRun(const Config& config, const RunFolder& folder, Communicator& communicator, const Logger& logger)
      : config_(config),
        folder_(folder),
        logger_(logger),
        initial_(initial_model(config)),
        learners_(config, communicator),
        ranks_(learners_.all()),
        tokenizer_(Tokenizer::load(config.model.path)),
        form_{config.data.prompt, config.data.question_key, config.data.date},
        texts_(form_, tokenizer_, config.model.path),
        rows_("data.train", open_rows(config.data.train, seed_for(config.run.seed, Stream::kData)), config.data, texts_,
              initial_.architecture().max_positions, logger),
        trainer_(compute_parameters(config, initial_.architecture(), learners_), initial_, config, learners_.shards()) {
    if (config.data.eval.empty()) return;
    const RewardRows held_out("data.eval", open_rows(config.data.eval, 0), config.data, texts_,
                              initial_.architecture().max_positions, logger);
    const std::vector<RewardExample> all = held_out.first(static_cast<std::uint64_t>(config.eval.prompts));
    held_out_ = part_of(all, learners_.data());
    held_out_count_ = static_cast<std::int64_t>(all.size());
  }

  /// The number of the last step.
  std::int64_t run(const std::filesystem::path& dump, const std::function<bool()>& stop) {
    std::int64_t step =
        load_newest_checkpoint(folder_.checkpoints(), config_hash(config_), trainer_.optimizer(), logger_).value_or(0);
    if (leads()) metrics_.emplace(folder_.root, step == 0 ? -1 : step);
    if (leads() && step > 0) logger_.info("goes on after step " + std::to_string(step));
    if (step == 0) evaluate(0, {});
    while (step < config_.run.steps) {
      ++step;
      train(step, dump);
      const bool stops = agreed(stop && stop());
      if (stops || step == config_.run.steps || step % config_.checkpoint.every == 0) checkpoint(step);
      if (stops) break;
    }
    if (step >= config_.run.steps) summarise(step);
    return step;
  }

 private:
  bool leads() const { return ranks_.rank() == 0; }

  void train(std::int64_t step, const std::filesystem::path& dump) {
    const std::int64_t start_ms = SteadyClock().now_ms();
    const double waited_s = ranks_.waited_s();
    std::vector<RewardExample> own;
    for (std::int64_t i = learners_.data().rank(); i < config_.batch.prompts; i += learners_.data().size()) {
      own.push_back(rows_.at(static_cast<std::uint64_t>((step - 1) * config_.batch.prompts + i)));
    }
    std::optional<UpdateTrace> trace;
    if (step == 1 && !dump.empty()) trace.emplace();
    const auto [numbers, update] = trainer_.step(step, own, config_.batch.prompts, trace ? &*trace : nullptr);
    if (trace) {
      const UpdateTrace whole = joined(std::move(*trace), learners_.data());
      if (leads()) write_dump(dump, initial_.layout(), whole, {{"step", "1"}, {"update", "1"}, {"config", print_config(config_)}});
    }
    if (update.skipped)
      logger_.warning("step " + std::to_string(step) + ": the gradient of " + update.bad_tensor +
                      " is not finite, nothing is updated");
    evaluate(step, {{std::string(metric::kLoss), numbers.loss},
                    {std::string(metric::kAccuracy), numbers.accuracy},
                    {kScoreMargin, numbers.margin},
                    {std::string(metric::kGradNorm), update.grad_norm},
                    {std::string(metric::kLr), update.lr},
                    {std::string(metric::kCollectiveWaitS), ranks_.waited_s() - waited_s},
                    {std::string(metric::kStepS), static_cast<double>(SteadyClock().now_ms() - start_ms) / 1000.0}});
  }

  /// Adds what the held-out rows say, where it is their turn, and writes and shows the step's numbers.
  void evaluate(std::int64_t step, std::map<std::string, double> values) {
    const bool at_the_ends = step == 0 || step == config_.run.steps;
    const bool due = at_the_ends || (config_.eval.every > 0 && step % config_.eval.every == 0);
    if (due && held_out_count_ > 0)
      values[std::string(metric::kHeldOutAccuracy)] = trainer_.evaluate(held_out_, held_out_count_).accuracy;
    if (!leads() || values.empty()) return;
    metrics_->write(step, values);
    std::string line = "step " + std::to_string(step) + "/" + std::to_string(config_.run.steps);
    for (const std::string_view name : {metric::kLoss, metric::kAccuracy, metric::kHeldOutAccuracy, metric::kStepS}) {
      const auto found = values.find(std::string(name));
      if (found != values.end()) line += "  " + found->first + " " + rounded(found->second);
    }
    std::cout << line << std::endl;
  }

  void checkpoint(std::int64_t step) {
    ShardedOptimizer& optimizer = trainer_.optimizer();
    const at::Tensor master = optimizer.gather(optimizer.master(), "master parameters");
    save_checkpoint(folder_.checkpoints(), {step, config_hash(config_), 0}, optimizer, [&](const std::filesystem::path& place) {
      Parameters exported(initial_.architecture(), at::kFloat);
      exported.flat().copy_(master);
      save_hugging_face(exported, config_.model.path, place / "hf");
      write_text_form(form_, place / "hf");
    });
    if (leads()) retire_checkpoints(folder_.checkpoints(), config_.checkpoint);
  }

  void summarise(std::int64_t step) {
    const std::string hash = final_hash(trainer_.optimizer(), {});
    if (!leads()) return;
    nlohmann::ordered_json summary = {{"steps", step}, {"final_hash", hash}};
    for (const MetricsLine& line : read_metrics(folder_.metrics())) {
      const auto found = line.values.find(std::string(metric::kHeldOutAccuracy));
      if (found != line.values.end()) summary[line.step == 0 ? "accuracy_before" : "accuracy_after"] = found->second;
    }
    write_file_atomically(folder_.summary(), summary.dump(2) + "\n");
    std::cout << "written: " << (checkpoint_folder(folder_.checkpoints(), step) / "hf").string() << "  final_hash " << hash
              << std::endl;
  }

  /// The same answer on every rank: one rank's signal stops all of them.
  bool agreed(bool stop) {
    std::array<double, 1> votes = {stop ? 1.0 : 0.0};
    ranks_.all_reduce_sum(std::span<double>(votes), "stop");
    return votes[0] > 0;
  }

  const Config& config_;
  const RunFolder& folder_;
  const Logger& logger_;
  Parameters initial_;
  LearnerRanks learners_;
  Communicator& ranks_;  // all of them
  Tokenizer tokenizer_;
  TextForm form_;
  ScoredText texts_;
  RewardRows rows_;
  RewardTrainer trainer_;
  std::vector<RewardExample> held_out_;  // this rank's
  std::int64_t held_out_count_ = 0;
  std::optional<MetricsWriter> metrics_;  // rank 0's
};

/// @throws ConfigError where the run there was begun with another configuration.
void require_same_run(const Config& config, const RunFolder& folder) {
  if (complete_checkpoints(folder.checkpoints()).empty() || !std::filesystem::exists(folder.config())) return;
  const auto differences = config_differences(load_config(folder.config().string(), {}), config);
  if (!differences.empty())
    throw ConfigError(folder.root.string() + " has a run with another configuration: " + join(differences, "; "));
}

}  // namespace

int run_reward_model_stage(const Config& config, const RunFolder& folder, const std::filesystem::path& dump,
                           Communicator& communicator, const std::function<bool()>& stop, const Logger& logger) {
  std::optional<FolderLock> lock;
  if (communicator.rank() == 0) {
    std::filesystem::create_directories(folder.root);
    lock.emplace(folder.lock());
    require_same_run(config, folder);
    write_file_atomically(folder.config(), print_config(config));
  }
  communicator.barrier();
  return RewardModelRun(config, folder, communicator, logger).run(dump, stop) < config.run.steps ? kExitResumable : 0;
}

}  // namespace troupe
