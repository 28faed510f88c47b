#include "learner/stages/conductor.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/base/files.h"
#include "common/base/metric_names.h"
#include "common/base/random.h"
#include "common/config/run_folder.h"
#include "common/model/architecture.h"
#include "common/transport/zmq_hub_channel.h"
#include "learner/stages/prompt_rows.h"
#include "learner/stages/sample_score.h"

namespace troupe {
namespace {

constexpr double kWaitSliceS = 0.5;
constexpr std::size_t kSamplesShown = 8;

std::vector<ModelFile> model_files_of(const std::filesystem::path& folder) {
  std::vector<ModelFile> files;
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}) {
    if (std::filesystem::exists(folder / name)) files.push_back({name, read_file(folder / name)});
  }
  return files;
}

}  // namespace

Conductor::Conductor(const Config& config, RunRecord& record, const std::filesystem::path& model_folder, std::int64_t resumed_step,
                     bool terminal, std::function<bool()> stop, RankBoard& board, Logger logger)
    : config_(config),
      record_(record),
      stop_(std::move(stop)),
      board_(board),
      logger_(std::move(logger)),
      tokenizer_(Tokenizer::load(model_folder)),
      train_rows_(open_rows(config.data.train, seed_for(config.run.seed, Stream::kData))),
      publisher_(record.run_id(), logger_),
      metrics_(record.folder().root, resumed_step),
      display_(config.run.steps, terminal) {
  if (!config.data.eval.empty()) held_out_rows_ = open_rows(config.data.eval, seed_for(config.run.seed, Stream::kData));
  start_hub(model_folder);
}

Conductor::~Conductor() = default;

void Conductor::start_hub(const std::filesystem::path& model_folder) {
  HubOptions options;
  options.config = config_;
  options.run_dir = record_.folder().root.string();
  options.run_id = record_.run_id();
  options.incarnation = record_.state().incarnation + 1;
  const Architecture architecture = read_architecture(model_folder);
  options.stop_ids = architecture.eos_ids;
  options.vocabulary = architecture.vocabulary;
  if (config_.hub.insecure) {
    options.token = make_hub_token(record_.folder());
    logger_.warning("hub.insecure: no encryption; whoever reaches " + config_.hub.bind + " and knows " +
                    record_.folder().token().string() + " can join the run");
  } else {
    std::filesystem::remove(record_.folder().token());
  }
  options.model_files = model_files_of(model_folder);
  options.ranks = &board_;
  auto channel = std::make_unique<ZmqHubChannel>(config_.hub.bind, config_.hub.insecure);
  endpoint_ = channel->endpoint();
  const PromptSource train = training_prompts(config_.data, *train_rows_, tokenizer_);
  const PromptSource held_out = held_out_rows_ ? held_out_prompts(config_.data, *held_out_rows_, tokenizer_) : PromptSource();
  const std::uint64_t incarnation = options.incarnation;
  hub_ = std::make_unique<Hub>(std::move(options), std::move(channel), record_.ledger(), train, held_out, logger_.with_component("hub"));
  write_hub_address(record_.folder(), {endpoint_, static_cast<std::uint64_t>(getpid()), host_name(), incarnation});
  logger_.info("hub at " + endpoint_ + " run=" + record_.run_id());
}

bool Conductor::should_stop() const { return (stop_ && stop_()) || board_.told_to_stop(); }

std::vector<GroupRecord> Conductor::recorded_batch(std::int64_t step) {
  RolloutLogReader reader(record_.folder().rollouts());
  std::vector<GroupRecord> batch;
  hub_->read_ledger([&](const LedgerState& state) { batch = read_batch(state, step, reader); });
  return batch;
}

std::optional<std::vector<GroupRecord>> Conductor::live_batch(std::int64_t step) {
  while (!should_stop()) {
    if (auto batch = hub_->next_batch(step, Deadline::after_s(kWaitSliceS))) return batch;
  }
  return std::nullopt;
}

void Conductor::publish(const Parameters& parameters, std::uint64_t version) {
  hub_->publish(publisher_.publish(parameters, version));
  fault::point("publish.after");
}

void Conductor::evaluate(std::uint64_t version) {
  bool known = false;
  hub_->read_ledger([&](const LedgerState& state) {
    known = std::any_of(state.evaluations.begin(), state.evaluations.end(), [&](const Evaluated& e) { return e.version == version; });
  });
  if (!held_out_rows_ || known) return;
  fault::point("evaluation.before");
  const int prompts = static_cast<int>(std::min<std::uint64_t>(static_cast<std::uint64_t>(config_.eval.prompts), held_out_rows_->size()));
  std::optional<std::vector<GroupRecord>> records;
  while (!records && !should_stop()) records = hub_->evaluate(version, prompts, Deadline::after_s(kWaitSliceS));
  if (!records) return;

  Evaluated evaluated;
  evaluated.version = version;
  evaluated.prompts = prompts;
  for (const GroupRecord& record : *records) {
    evaluated.accuracy += accuracy_of(record.scores.front()).value_or(0.0) / prompts;
    evaluated.mean_reward += record.scores.front().reward.value_or(0.0) / prompts;
  }
  hub_->record(evaluated);
  fault::point("evaluation.after");
  evaluation_ = {{std::string(metric::kHeldOutAccuracy), evaluated.accuracy}, {std::string(metric::kHeldOutReward), evaluated.mean_reward}};
  write_samples(version, *records);
  std::array<char, 120> line{};
  std::snprintf(line.data(), line.size(), "held-out, version %llu: accuracy %.3f, reward %.3f over %d prompts (greedy)",
                static_cast<unsigned long long>(version), evaluated.accuracy, evaluated.mean_reward, prompts);
  display_.note(line.data());
}

void Conductor::write_samples(std::uint64_t version, const std::vector<GroupRecord>& records) const {
  const bool before = version == 0;
  if (!before && version != static_cast<std::uint64_t>(config_.run.steps)) return;
  std::ofstream out(record_.folder().samples(), std::ios::app);
  for (std::size_t i = 0; i < std::min(kSamplesShown, records.size()); ++i) {
    const GroupRecord& record = records[i];
    const auto row = nlohmann::json::parse(record.row);
    const nlohmann::ordered_json sample = {{"when", before ? "before" : "after"},
                                           {"prompt", tokenizer_.decode(record.prompt_ids, true)},
                                           {"completion", record.completions.front().text},
                                           {"gold", gold_of(row)},
                                           {"reward", record.scores.front().reward.value_or(0.0)}};
    out << sample.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  }
}

void Conductor::step_done(const StepReport& report, const StepTrained& trained) {
  hub_->step_trained(trained);
  std::map<std::string, double> values = metrics_of(report);
  hub_->read_ledger([&](const LedgerState& state) {
    values[std::string(metric::kTokensGenerated)] = static_cast<double>(state.tokens_generated);
    values[std::string(metric::kTokensTrained)] = static_cast<double>(state.tokens_trained);
  });
  values.insert(evaluation_.begin(), evaluation_.end());
  evaluation_.clear();
  metrics_.write(report.step, values);
  display_.step(report);
}

void Conductor::finish(const std::string& final_hash) {
  fault::point("end.before");
  hub_->close(0, "the run is finished", true);
  hub_.reset();  // lets the weights in shared memory go: once there is an end record nobody comes to clear them
  record_.ledger().append(RunFinished{config_.run.steps, final_hash, unix_time_s()});
  record_.ledger().sync();
  fault::point("end.recorded");
  record_.write_summary();
  fault::point("end.after");
  const LedgerState& state = record_.state();
  const auto at = [&](std::uint64_t version) -> std::optional<Evaluated> {
    for (const Evaluated& evaluated : state.evaluations) {
      if (evaluated.version == version) return evaluated;
    }
    return std::nullopt;
  };
  display_.table(at(0), at(static_cast<std::uint64_t>(config_.run.steps)), config_.run.steps, state.wall_s);
  display_.note("final_hash " + final_hash);
}

void Conductor::stop(const std::string& reason) {
  std::filesystem::remove(record_.folder().hub());  // nobody is to look for it there
  hub_->close(75, reason, false);
}

}  // namespace troupe
