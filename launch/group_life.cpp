#include "launch/group_life.h"

#include <algorithm>
#include <map>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/text.h"
#include "common/tokenizer/tokenizer.h"
#include "learner/objective/intake.h"
#include "learner/stages/start_model.h"

namespace troupe {
namespace {

using Json = nlohmann::ordered_json;

/// Picks the records of one group, in their order.
class LifeReader {
 public:
  LifeReader(std::uint64_t group, std::optional<std::uint64_t> evaluation) : group_(group), evaluation_(evaluation) {}

  void operator()(const AttemptStarted& r) {
    if (going_)
      add("attempt_started", r.unix_s, {{"attempt_of_the_run", r.incarnation}, {"note", "leases of the attempt before are void"}});
    going_ = false;
  }
  void operator()(const GroupLeased& r) {
    if (!about(r) || (evaluation_ && r.policy_version != *evaluation_)) return;
    going_ = true;
    add("leased", r.unix_s,
        {{"to", r.actor}, {"attempt", r.attempt}, {"policy_version", r.policy_version}, {"lease_id", r.lease_id}});
  }
  void operator()(const LeaseLost& r) {
    if (about(r) && going_) add("lease_lost", r.unix_s, {{"reason", r.reason}, {"lease_id", r.lease_id}});
  }
  void operator()(const GroupRolledOut& r) {
    if (about(r) && going_) {
      add("rolled_out", r.unix_s, {{"tokens", r.tokens}, {"lowest_version", r.lowest_version}, {"lease_id", r.lease_id}});
    }
  }
  void operator()(const GroupScored& r) {
    if (!about(r) || !going_) return;
    place = r.place;
    add("scored", r.unix_s,
        {{"by", r.rewarder}, {"mean_reward", r.mean_reward}, {"hash", r.hash}, {"file", r.place.file}, {"offset", r.place.offset}});
  }
  void operator()(const GroupRefused& r) {
    if (evaluation_ || r.group != group_) return;
    add(r.again ? "refused_and_leased_again" : "refused", r.unix_s, {{"reason", r.reason}});
    refused_for = r.again ? "" : r.reason;
    going_ = false;
  }
  void operator()(const BatchChosen& r) {
    if (evaluation_) return;
    for (std::size_t i = 0; i < r.groups.size(); ++i) {
      if (r.groups[i] != group_) continue;
      step = r.step;
      add("chosen", 0, {{"step", r.step}, {"place", i}});
    }
  }
  void operator()(const StepTrained& r) {
    if (step && r.step == *step) add(trained ? "rolled_forward" : "trained", r.unix_s, {{"step", r.step}});
    trained = trained || (step && r.step == *step);
    if (trained) going_ = false;
  }
  void operator()(const Evaluated& r) {
    if (evaluation_ && r.version == *evaluation_ && !life.empty()) add("evaluated", 0, {{"version", r.version}});
    if (evaluation_) going_ = false;
  }
  template <class Other>
  void operator()(const Other&) {}

  Json life = Json::array();
  std::optional<RolloutPlace> place;
  std::optional<std::int64_t> step;
  std::string refused_for;
  bool trained = false;

 private:
  template <class R>
  bool about(const R& r) const {
    return r.group == group_ && (r.purpose == Purpose::kEvaluate) == evaluation_.has_value();
  }
  void add(const std::string& event, double unix_s, const Json& details) {
    Json entry = {{"event", event}};
    if (unix_s > 0) entry["at"] = utc_text(unix_s);
    entry.update(details);
    life.push_back(std::move(entry));
  }

  std::uint64_t group_;
  std::optional<std::uint64_t> evaluation_;
  bool going_ = false;  // leased in this attempt and not decided
};

std::string why_refused(const std::string& reason, const Config& config) {
  if (reason == "stale") return "its tokens were older than run.max_lag = " + std::to_string(config.run.max_lag) + " allows";
  if (reason == "filtered") return "its rewards are all equal, and batch.dynamic_sampling = true";
  if (reason == "failed") return "its verifier failed again and again: it has no rewards";
  if (reason == "unused") return "it was open when the run ended";
  return reason;
}

/// Runs of tokens of one version.
Json versions_of(const Completion& completion) {
  Json runs = Json::array();
  for (std::size_t i = 0; i < completion.versions.size(); ++i) {
    if (i == 0 || completion.versions[i] != completion.versions[i - 1]) {
      runs.push_back({{"from", i}, {"to", i}, {"version", completion.versions[i]}});
    }
    runs.back()["to"] = i;
  }
  return runs;
}

Json or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

/// By sample; empty where groups of its batch are pruned.
std::map<std::uint32_t, double> advantages_of(const Config& config, const LedgerState& state, std::int64_t step,
                                              std::uint64_t group, RolloutLogReader& reader) {
  std::map<std::uint32_t, double> advantages;
  const auto& places = state.batches.at(step).places;
  if (std::any_of(places.begin(), places.end(), [&](const auto& p) { return state.pruned_files.contains(p.file); }))
    return advantages;
  for (const auto& trajectories : make_step(config, step, read_batch(state, step, reader)).groups) {
    for (const Trajectory& trajectory : trajectories) {
      if (trajectory.group == group) advantages[trajectory.sample] = trajectory.advantage;
    }
  }
  return advantages;
}

Json completions_of(const GroupRecord& record, const std::map<std::uint32_t, double>& advantages) {
  Json completions = Json::array();
  for (std::size_t i = 0; i < record.completions.size(); ++i) {
    const Completion& completion = record.completions[i];
    Json components = Json::object();
    for (const RewardComponent& c : record.scores[i].components) {
      components[c.name] = {{"value", or_null(c.value)}, {"reason", c.reason}, {"ms", c.ms}};
    }
    Json json = {{"sample", completion.sample},
                 {"tokens", completion.token_ids.size()},
                 {"finish_reason", completion.finish_reason == FinishReason::kLength ? "length" : "stop"},
                 {"versions", versions_of(completion)},
                 {"reward", or_null(record.scores[i].reward)},
                 {"components", components}};
    const auto advantage = advantages.find(completion.sample);
    if (advantage != advantages.end()) json["advantage"] = advantage->second;
    json["text"] = completion.text;
    completions.push_back(std::move(json));
  }
  return completions;
}

/// The prompt's text, or its ids where the tokenizer is no longer where the run had it.
Json prompt_of(const Config& config, const RunFolder& folder, const GroupRecord& record) {
  try {
    return Tokenizer::load(start_folder(config, folder)).decode(record.prompt_ids, false);
  } catch (const ConfigError&) {
    return record.prompt_ids;
  }
}

std::string state_of(const LifeReader& reader, bool evaluation) {
  if (reader.trained) return "trained";
  if (!reader.refused_for.empty()) return "refused as " + reader.refused_for;
  if (reader.step) return "chosen";
  const std::string last = reader.life.back()["event"];
  if (evaluation && last == "evaluated") return last;
  return last == "leased" || last == "rolled_out" || last == "scored" ? last : "open";
}

void require_known(const LifeReader& reader, const LedgerState& state, std::uint64_t group,
                   std::optional<std::uint64_t> evaluation) {
  if (!reader.life.empty()) return;
  const std::string what = "--group " + std::to_string(group);
  if (!evaluation) {
    const std::string there = state.next_group == 0 ? "none yet" : "0 to " + std::to_string(state.next_group - 1);
    throw ConfigError(what + ": no such group; leased were " + there);
  }
  std::vector<std::string> versions;
  for (const Evaluated& e : state.evaluations) {
    versions.push_back(std::to_string(e.version) + " (rows 0 to " + std::to_string(e.prompts - 1) + ")");
  }
  throw ConfigError(what + " --evaluation " + std::to_string(*evaluation) + ": no such row; evaluated versions are " +
                    (versions.empty() ? "none" : join(versions, ", ")));
}

}  // namespace

Json group_life(const RunFolder& folder, const LedgerState& state, std::uint64_t group, std::optional<std::uint64_t> evaluation) {
  LifeReader reader(group, evaluation);
  for (const LedgerRecord& record : read_ledger_records(folder.ledger())) std::visit(reader, record);
  require_known(reader, state, group, evaluation);
  const Config config = parse_config(state.started->config, folder.ledger().string() + ": the run's configuration", {});
  Json json = {{"group", group}, {"purpose", evaluation ? "evaluate" : "train"}};
  if (evaluation) json["version"] = *evaluation;
  json["state"] = state_of(reader, evaluation.has_value());
  if (!reader.refused_for.empty()) json["why"] = why_refused(reader.refused_for, config);
  if (reader.step) json["step"] = *reader.step;
  json["life"] = reader.life;
  if (!reader.place) return json;
  if (state.pruned_files.contains(reader.place->file)) {
    json["note"] = "its completions are pruned";
    return json;
  }
  RolloutLogReader log(folder.rollouts());
  const GroupRecord record = log.read(*reader.place);
  json["row"] = Json::parse(record.row);
  json["prompt"] = prompt_of(config, folder, record);
  const auto advantages = reader.step ? advantages_of(config, state, *reader.step, group, log) : std::map<std::uint32_t, double>();
  json["completions"] = completions_of(record, advantages);
  return json;
}

std::string group_life_text(const Json& life) {
  std::string text = life["purpose"] == "train" ? "group " : "held-out row ";
  text += life["group"].dump();
  if (life.contains("version")) text += " in the evaluation of version " + life["version"].dump();
  text += ": " + life["state"].get<std::string>();
  if (life.contains("step")) text += " at step " + life["step"].dump();
  if (life.contains("why")) text += " (" + life["why"].get<std::string>() + ")";
  text += '\n';
  for (const Json& entry : life["life"]) {
    text += "  " + entry.value("at", std::string(24, ' ')) + "  " + entry["event"].get<std::string>();
    for (const auto& [key, value] : entry.items()) {
      if (key == "event" || key == "at") continue;
      text += "  " + key + "=" + (value.is_string() ? value.get<std::string>() : value.dump());
    }
    text += '\n';
  }
  if (life.contains("note")) text += life["note"].get<std::string>() + '\n';
  if (!life.contains("completions")) return text;
  text += "row " + life["row"].dump() + "\n--- prompt\n" +
          (life["prompt"].is_string() ? life["prompt"].get<std::string>() : life["prompt"].dump()) + '\n';
  for (const Json& completion : life["completions"]) {
    text += "--- sample " + completion["sample"].dump() + ": reward " + completion["reward"].dump();
    if (completion.contains("advantage")) text += ", advantage " + shortest(completion["advantage"].get<double>());
    for (const auto& [name, component] : completion["components"].items()) {
      text += ", " + name + " " + component["value"].dump() + " (" + component["reason"].get<std::string>() + ")";
    }
    text += ", " + completion["tokens"].dump() + " tokens, finish " + completion["finish_reason"].get<std::string>();
    for (const Json& run : completion["versions"]) {
      text += ", tokens " + run["from"].dump() + "-" + run["to"].dump() + " by version " + run["version"].dump();
    }
    text += '\n' + completion["text"].get<std::string>() + '\n';
  }
  return text;
}

}  // namespace troupe
