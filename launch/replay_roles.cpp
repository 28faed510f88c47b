#include "launch/replay_roles.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <map>
#include <set>

#include "actors/completion_text.h"
#include "actors/engine_options.h"
#include "common/model/compute_device.h"
#include "common/base/error.h"
#include "common/base/text.h"
#include "learner/hub/group_scheduler.h"
#include "learner/replay/roll_forward.h"
#include "learner/stages/prompt_writer.h"
#include "learner/stages/start_model.h"
#include "rewarders/reward.h"
#include "rewarders/rewarder_loop.h"
#include "rewarders/verifier.h"

namespace troupe {
namespace {

using Weights = std::map<std::uint64_t, Parameters>;  // by version

std::set<std::uint64_t> versions_of(const GroupRecord& record) {
  std::set<std::uint64_t> versions;
  for (const Completion& completion : record.completions) {
    check(!completion.versions.empty(), "a completion of a group that trained has a token");
    versions.insert(completion.versions.begin(), completion.versions.end());
  }
  return versions;
}

std::string changes_text(const RecordedRun& run, std::int64_t step) {
  std::string text;
  for (const std::string& change : config_differences(run.config_of(step), run.changed_config_of(step)))
    text += "changed " + change + "\n";
  return text;
}

/// Draws completions again, as an actor with the given configuration does.
class Redraw {
 public:
  Redraw(const Config& config, const Weights& weights, const Tokenizer& tokenizer)
      : terms_(scheduler_options(config, 1)), weights_(weights), tokenizer_(tokenizer) {
    terms_.sampling.stop_ids = weights.begin()->second.architecture().eos_ids;
    const at::ScalarType dtype = weights.begin()->second.flat().scalar_type();
    options_ = engine_options(config, config, tokenizer_, compute_device(config.actors.device, "actors.device", dtype));
    options_.on_new_weights = OnNewWeights::kRecompute;  // at the recorded token, neither before nor after it
  }

  /// The groups' completions, in their order. One that took new weights on the way does so after the same token again.
  std::vector<std::vector<Completion>> completions_of(const std::vector<GroupRecord>& batch) const {
    std::vector<std::vector<Completion>> all(batch.size());
    std::map<std::uint64_t, std::vector<std::size_t>> of_one_version;  // places in the batch
    for (std::size_t place = 0; place < batch.size(); ++place) {
      const std::set<std::uint64_t> versions = versions_of(batch[place]);
      if (versions.size() == 1) {
        of_one_version[*versions.begin()].push_back(place);
      } else {
        for (const Completion& completion : batch[place].completions) all[place].push_back(drawn(batch[place], completion));
      }
    }
    for (const auto& [version, places] : of_one_version) {
      Engine engine(weights_.at(version), version, options_);
      for (const std::size_t place : places) {
        engine.submit(request_of(batch[place], place, 0, static_cast<std::uint32_t>(batch[place].completions.size())));
      }
      while (!engine.idle()) {
        for (FinishedRequest& finished : engine.step()) all[finished.id] = std::move(finished.completions);
      }
    }
    for (std::vector<Completion>& completions : all) {
      for (Completion& completion : completions) completion.text = completion_text(completion, terms_.sampling, tokenizer_);
    }
    return all;
  }

 private:
  Request request_of(const GroupRecord& record, std::uint64_t id, std::uint32_t first_sample, std::uint32_t samples) const {
    return {id, record.prompt_ids, samples, terms_.sampling, terms_.train_seed, record.group, first_sample};
  }

  /// One sample on its own: token i with the version that drew the recorded token i, later ones with its last.
  Completion drawn(const GroupRecord& record, const Completion& recorded) const {
    const std::vector<std::uint64_t>& versions = recorded.versions;
    Engine engine(weights_.at(versions.front()), versions.front(), options_);
    engine.submit(request_of(record, 0, recorded.sample, 1));
    for (;;) {
      const std::uint64_t version = versions[std::min<std::size_t>(engine.tokens_of(0), versions.size() - 1)];
      if (version != engine.version()) engine.set_weights(weights_.at(version), version);
      std::vector<FinishedRequest> finished = engine.step();
      if (!finished.empty()) return std::move(finished.front().completions.front());
    }
  }

  SchedulerOptions terms_;
  EngineOptions options_;
  const Weights& weights_;
  const Tokenizer& tokenizer_;
};

/// What of a completion came out otherwise, the first token first; "" where all is the same.
std::string difference(const Completion& recorded, const Completion& redrawn) {
  for (std::size_t i = 0; i < std::min(recorded.token_ids.size(), redrawn.token_ids.size()); ++i) {
    const std::string token = "token " + std::to_string(i);
    if (recorded.token_ids[i] != redrawn.token_ids[i]) {
      return token + ": recorded " + std::to_string(recorded.token_ids[i]) + ", generated " + std::to_string(redrawn.token_ids[i]);
    }
    if (std::bit_cast<std::uint32_t>(recorded.logprobs[i]) != std::bit_cast<std::uint32_t>(redrawn.logprobs[i])) {
      return "log-probability of " + token + ": recorded " + shortest(static_cast<double>(recorded.logprobs[i])) + ", generated " +
             shortest(static_cast<double>(redrawn.logprobs[i]));
    }
  }
  if (recorded.token_ids.size() != redrawn.token_ids.size()) {
    return "length: recorded " + std::to_string(recorded.token_ids.size()) + " tokens, generated " +
           std::to_string(redrawn.token_ids.size());
  }
  if (recorded.finish_reason != redrawn.finish_reason) return "finish reason";
  if (recorded.text != redrawn.text) return "text: recorded '" + recorded.text + "', decoded '" + redrawn.text + "'";
  return "";
}

std::string value_text(const std::optional<double>& value) { return value ? shortest(*value) : "none"; }

bool same(const std::optional<double>& a, const std::optional<double>& b) { return value_text(a) == value_text(b); }

/// What of a score came out otherwise; "" where all is the same (how long it took does not count).
std::string difference(const Score& recorded, const Score& again) {
  const auto both = [](const std::string& what, const std::string& a, const std::string& b) {
    return what + ": recorded " + a + ", scored " + b;
  };
  for (std::size_t i = 0; i < std::max(recorded.components.size(), again.components.size()); ++i) {
    const auto text = [i](const Score& score) {
      if (i >= score.components.size()) return std::string("no such component");
      const RewardComponent& component = score.components[i];
      return component.name + " " + value_text(component.value) + " (" + component.reason + ")";
    };
    if (text(recorded) != text(again)) return both("component " + std::to_string(i), text(recorded), text(again));
  }
  return same(recorded.reward, again.reward) ? "" : both("reward", value_text(recorded.reward), value_text(again.reward));
}

/// What of a prompt's tokens came out otherwise, the first token first; "" where all are the same.
std::string difference(const std::vector<std::int32_t>& recorded, const std::vector<std::int32_t>& again) {
  const auto [a, b] = std::mismatch(recorded.begin(), recorded.end(), again.begin(), again.end());
  if (a == recorded.end() && b == again.end()) return "";
  const auto text = [](auto at, auto end) { return at == end ? "the end" : std::to_string(*at); };
  return "token " + std::to_string(a - recorded.begin()) + " of the prompt: recorded " + text(a, recorded.end()) +
         ", tokenised " + text(b, again.end());
}

/// Counts what is compared ("completions") and keeps the first difference.
class Tally {
 public:
  explicit Tally(std::string compared) : name_(std::move(compared)) {}

  void add(const std::string& where, const std::string& difference) {
    ++compared_;
    if (difference.empty()) return;
    if (different_++ == 0) first_ = where + ": " + difference;
  }
  void add(const GroupRecord& record, std::size_t sample, const std::string& difference) {
    add("group " + std::to_string(record.group) + ", sample " + std::to_string(sample), difference);
  }

  /// The exit code.
  int tell(std::int64_t step, const std::string& what, std::ostream& out) const {
    if (different_ == 0) {
      out << "step " << step << ": " << compared_ << " " << name_ << ", the same " << what << " as recorded\n";
      return 0;
    }
    out << "DIFFERENT: step " << step << ": " << different_ << " of " << compared_ << " " << name_ << "; first " << first_ << '\n';
    return 1;
  }

 private:
  std::string name_;
  std::int64_t compared_ = 0;
  std::int64_t different_ = 0;
  std::string first_;
};

/// Writes the prompts of the step's rows again and compares their tokens; the exit code.
int compare_prompts(const PromptWriter& prompts, std::int64_t step, const std::vector<GroupRecord>& batch, std::ostream& out) {
  Tally tally("prompts");
  for (const GroupRecord& record : batch) {
    const std::string where = "group " + std::to_string(record.group);
    const Row row{nlohmann::json::parse(record.row), where, record.row};
    tally.add(where, difference(record.prompt_ids, prompts.prompt_ids(row)));
  }
  return tally.tell(step, "tokens", out);
}

}  // namespace

int replay_actor(RecordedRun& run, std::int64_t step, std::ostream& out) {
  const Config recorded = run.config_of(step);
  if (recorded.actors.on_new_weights == "keep") {
    throw ConfigError(
        "--role actor: the run has actors.on_new_weights = keep: its actors drew from caches that mixed policy versions, "
        "as their weights happened to arrive; that cannot be generated again");
  }
  const Config config = run.changed_config_of(step);
  const std::vector<GroupRecord> batch = run.batch(step);
  std::set<std::uint64_t> versions;
  for (const GroupRecord& record : batch) versions.merge(versions_of(record));
  if (versions.empty() || *versions.rbegin() >= static_cast<std::uint64_t>(step)) {
    throw ConfigError("step " + std::to_string(step) + ": expected tokens of versions below it in its recorded groups");
  }
  out << changes_text(run, step) << "step " << step << " of " << run.folder().root.string() << ": ";
  Weights weights;
  const auto keep = [&](std::int64_t version, const Parameters& parameters) {
    const auto number = static_cast<std::uint64_t>(version);
    if (!versions.contains(number) || weights.contains(number)) return;
    Parameters copy(parameters.architecture(), parameters.flat().scalar_type());
    copy.flat().copy_(parameters.flat());
    weights.emplace(number, std::move(copy));
  };
  const RolledForward rolled =
      roll_forward(run, static_cast<std::int64_t>(*versions.begin()), static_cast<std::int64_t>(*versions.rbegin()), keep, out);
  if (rolled.difference) {
    out << "DIFFERENT: " << *rolled.difference << '\n';
    return 1;
  }
  at::set_num_threads(config.actors.threads);
  const std::filesystem::path model = start_folder(config, run.folder());
  const Tokenizer tokenizer = Tokenizer::load(model);
  const int prompts = compare_prompts(PromptWriter(config.data, tokenizer, model), step, batch, out);
  const auto again = Redraw(config, weights, tokenizer).completions_of(batch);
  Tally tally("completions");
  for (std::size_t g = 0; g < batch.size(); ++g) {
    for (std::size_t i = 0; i < again[g].size(); ++i) tally.add(batch[g], i, difference(batch[g].completions[i], again[g][i]));
  }
  return std::max(prompts, tally.tell(step, "tokens and log-probabilities", out));
}

int replay_rewarder(RecordedRun& run, std::int64_t step, std::ostream& out) {
  const Config config = run.changed_config_of(step);
  out << changes_text(run, step);
  VerifierProcess verifier(placed_rewards(config), own_verifier_command());
  Tally tally("completions");
  for (const GroupRecord& record : run.batch(step)) {
    for (std::size_t i = 0; i < record.completions.size(); ++i) {
      const Completion& completion = record.completions[i];
      const Score again = verifier.score(record.row, completion.text, static_cast<std::uint32_t>(completion.token_ids.size()),
                                         completion.finish_reason, RewarderOptions().score_timeout_s);
      tally.add(record, i, difference(record.scores.at(i), again));
    }
  }
  return tally.tell(step, "rewards", out);
}

}  // namespace troupe
