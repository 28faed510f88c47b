#include "learner/stages/conductor.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <functional>
#include <numeric>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/base/files.h"
#include "common/base/metric_names.h"
#include "common/base/random.h"
#include "common/base/text.h"
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
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "vocab.json", "merges.txt", "added_tokens.json"}) {
    if (std::filesystem::exists(folder / name)) files.push_back({name, read_file(folder / name)});
  }
  return files;
}

/// What earlier attempts measured, up to the step that this one goes on from.
std::vector<MetricsLine> metrics_so_far(const RunFolder& folder) {
  return std::filesystem::exists(folder.metrics()) ? read_metrics(folder.metrics()) : std::vector<MetricsLine>();
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
      prompts_(config.data, tokenizer_, model_folder),
      train_rows_(open_rows(config.data.train, seed_for(config.run.seed, Stream::kData))),
      publisher_(record.run_id(), logger_),
      metrics_(record.folder().root, resumed_step),
      display_(config.run.steps, terminal),
      health_(health_of(config, metrics_so_far(record.folder()))) {
  if (!config.data.eval.empty()) held_out_rows_ = open_rows(config.data.eval, seed_for(config.run.seed, Stream::kData));
  start_hub(model_folder);
  using Kind = Health::News::Kind;
  for (const Finding& finding : health_.current()) say({{resumed_step == 0 ? Kind::kBegins : Kind::kLasts, finding}});
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
  const PromptSource train = training_prompts(prompts_, *train_rows_);
  const PromptSource held_out = held_out_rows_ ? held_out_prompts(prompts_, *held_out_rows_) : PromptSource();
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

bool Conductor::diverged() const {
  bool diverged = false;
  hub_->read_ledger([&](const LedgerState& state) { diverged = state.diverged_step != 0; });
  return diverged;
}

std::optional<std::vector<GroupRecord>> Conductor::live_batch(std::int64_t step) {
  while (!should_stop()) {
    if (auto batch = hub_->next_batch(step, Deadline::after_s(kWaitSliceS))) return batch;
    say(health_.without_batch(step, refused_since_batch()));
    if (reason_to_stop()) break;
  }
  return std::nullopt;
}

void Conductor::start_broadcaster(const at::Device& device) {
  WeightBroadcaster::Options options;
  options.gpu = gpu_name(device);
  options.takers = [this] { return hub_->weight_takers(); };
  options.tell = [this](const PeerId& peer, std::string frame) { hub_->tell(peer, std::move(frame)); };
  options.new_id = new_broadcast_id;
  options.join = [device, deadline_s = config_.deadline.heartbeat_s](const BroadcastPlace& place) {
    return join_broadcast_group(place, device, deadline_s);
  };
  broadcaster_.emplace(std::move(options), logger_);
}

void Conductor::publish(const Parameters& parameters, std::uint64_t version) {
  if (!broadcaster_) start_broadcaster(parameters.flat().device());
  const std::future<void> sending = broadcaster_->send(parameters.flat(), version);
  PublishedWeights weights = publisher_.publish(parameters, version);
  const std::vector<std::uint64_t>& parts = weights.manifest.bucket_checksums;
  if (parts.size() == published_.size()) {
    const auto same = std::inner_product(parts.begin(), parts.end(), published_.begin(), 0.0, std::plus<>(), std::equal_to<>());
    weights_changed_ = 1.0 - same / static_cast<double>(parts.size());
  }
  published_ = parts;
  hub_->publish(std::move(weights));
  sending.wait();
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
  if (version == 0) first_evaluation_ = look_at(config_, *records);
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

void Conductor::say(const std::vector<Health::News>& news) {
  for (const auto& [kind, finding] : news) {
    display_.clear_line();
    switch (kind) {
      case Health::News::Kind::kBegins:
        logger_.warning("NOT LEARNING " + describe(finding));
        break;
      case Health::News::Kind::kLasts:
        logger_.warning("still NOT LEARNING " + describe(finding));
        break;
      case Health::News::Kind::kEnds:
        logger_.info("over since step " + std::to_string(finding.until + 1) + ": " + finding.what);
        break;
    }
  }
}

void Conductor::look_at_batch(std::int64_t step, const IntakeMetrics& intake) {
  refused_before_ = hub_->status().refused_groups;
  scored_groups_ += intake.groups;
  if (step != 1) return;
  std::vector<MetricValues> looks = {metrics_of(intake)};
  std::int64_t completions = intake.completions;
  if (first_evaluation_) {
    looks.push_back(metrics_of(*first_evaluation_));
    completions += first_evaluation_->completions;
  }
  say(health_.first_look(looks, completions));
}

std::map<std::string, std::int64_t> Conductor::refused_since_batch() const {
  std::map<std::string, std::int64_t> refused = hub_->status().refused_groups;
  for (const auto& [reason, before] : refused_before_) refused[reason] -= before;
  return refused;
}

/// Such a run would learn from the rows that happen to be graded, or wait for ever.
std::optional<std::string> Conductor::failing_verifiers() const {
  const auto refused = hub_->status().refused_groups;
  const auto found = refused.find("failed");
  const std::int64_t failed = found == refused.end() ? 0 : found->second;
  const std::int64_t groups = failed + scored_groups_;
  if (groups < config_.batch.prompts || static_cast<double>(failed) <= config_.rewarders.max_failed * static_cast<double>(groups)) return std::nullopt;
  return "a verifier failed on " + std::to_string(failed) + " of " + std::to_string(groups) + " groups, and rewarders.max_failed is " +
         shortest(config_.rewarders.max_failed) + ": the rewarders' logs say why";
}

std::optional<std::string> Conductor::reason_to_stop() const {
  if (auto failing = failing_verifiers()) return failing;
  const auto finding = config_.run.strict ? health_.reason_to_stop() : std::nullopt;
  return finding ? std::optional("--strict: NOT LEARNING " + describe(*finding)) : std::nullopt;
}

void Conductor::step_done(const StepReport& report, const StepTrained& trained) {
  hub_->step_trained(trained);
  std::map<std::string, double> values = metrics_of(report);
  hub_->read_ledger([&](const LedgerState& state) {
    values[std::string(metric::kTokensGenerated)] = static_cast<double>(state.tokens_generated);
    values[std::string(metric::kTokensTrained)] = static_cast<double>(state.tokens_trained);
  });
  if (weights_changed_) values[std::string(metric::kWeightsChanged)] = *weights_changed_;
  weights_changed_.reset();
  const std::vector<Health::News> news = health_.step(report.step, values);
  values[std::string(metric::kNotLearning)] = static_cast<double>(health_.current().size());
  values.insert(evaluation_.begin(), evaluation_.end());
  evaluation_.clear();
  metrics_.write(report.step, values);
  display_.step(report);
  say(news);
}

void Conductor::finish(const std::string& final_hash) {
  fault::point("end.before");
  hub_->close(0, "the run is finished", true);
  hub_.reset();
  publisher_.clear();  // once there is an end record nobody comes to clear the weights in shared memory
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
  for (const Finding& finding : health_.current()) display_.note("NOT LEARNING at the end, " + describe(finding));
  display_.note("final_hash " + final_hash);
}

void Conductor::record_stop(std::int64_t step, int exit_code, const std::string& reason) {
  hub_->record(AttemptStopped{step, exit_code, reason, unix_time_s()});
}

void Conductor::stop(int exit_code, const std::string& reason) {
  std::filesystem::remove(record_.folder().hub());  // nobody is to connect there any more
  hub_->close(exit_code, reason, false);
}

}  // namespace troupe
