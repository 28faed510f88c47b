#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/base/text.h"
#include "learner/hub/ledger.h"

namespace troupe {
namespace {

using Json = nlohmann::json;

// Each record's name and fields, declared once for both directions: `visit` is a JsonWriter or a JsonReader.

template <class V>
void fields(V& visit, RunStarted& r) {
  visit("config", r.config);
  visit("config_hash", r.config_hash);
  visit("weights_hash", r.weights_hash);
  visit("run_id", r.run_id);
  visit("format", r.format);
}
template <class V>
void fields(V& visit, AttemptStarted& r) {
  visit("incarnation", r.incarnation);
  visit("from_step", r.from_step);
  visit("unix_s", r.unix_s);
}
template <class V>
void fields(V& visit, GroupLeased& r) {
  visit("group", r.group);
  visit("purpose", r.purpose);
  visit("lease_id", r.lease_id);
  visit("attempt", r.attempt);
  visit("policy_version", r.policy_version);
  visit("actor", r.actor);
  visit("unix_s", r.unix_s);
}
template <class V>
void fields(V& visit, LeaseLost& r) {
  visit("group", r.group);
  visit("purpose", r.purpose);
  visit("lease_id", r.lease_id);
  visit("reason", r.reason);
  visit("unix_s", r.unix_s);
}
template <class V>
void fields(V& visit, GroupRolledOut& r) {
  visit("group", r.group);
  visit("purpose", r.purpose);
  visit("lease_id", r.lease_id);
  visit("lowest_version", r.lowest_version);
  visit("tokens", r.tokens);
  visit("unix_s", r.unix_s);
}
template <class V>
void fields(V& visit, GroupScored& r) {
  visit("group", r.group);
  visit("purpose", r.purpose);
  visit("hash", r.hash);
  visit("place", r.place);
  visit("rewarder", r.rewarder);
  visit("mean_reward", r.mean_reward);
  visit("unix_s", r.unix_s);
}
template <class V>
void fields(V& visit, GroupRefused& r) {
  visit("group", r.group);
  visit("reason", r.reason);
  visit("again", r.again);
  visit("unix_s", r.unix_s);
}
template <class V>
void fields(V& visit, BatchChosen& r) {
  visit("step", r.step);
  visit("groups", r.groups);
  visit("hashes", r.hashes);
  visit("places", r.places);
  visit("world_size", r.world_size);
}
template <class V>
void fields(V& visit, StepTrained& r) {
  visit("step", r.step);
  visit("weights_hash", r.weights_hash);
  visit("unix_s", r.unix_s);
  visit("loss", r.loss);
  visit("grad_norm", r.grad_norm);
  visit("world_size", r.world_size);
  visit("run_steps", r.run_steps);
  visit("tensor_hashes", r.tensor_hashes);
}
template <class V>
void fields(V& visit, Evaluated& r) {
  visit("version", r.version);
  visit("accuracy", r.accuracy);
  visit("mean_reward", r.mean_reward);
  visit("prompts", r.prompts);
}
template <class V>
void fields(V& visit, CheckpointWritten& r) {
  visit("step", r.step);
  visit("folder", r.folder);
}
template <class V>
void fields(V& visit, RunFinished& r) {
  visit("steps", r.steps);
  visit("final_hash", r.final_hash);
  visit("unix_s", r.unix_s);
}

template <class V>
void fields(V& visit, AttemptStopped& r) {
  visit("step", r.step);
  visit("exit_code", r.exit_code);
  visit("reason", r.reason);
  visit("unix_s", r.unix_s);
}

template <class V>
void fields(V& visit, LogsPruned& r) {
  visit("before_step", r.before_step);
  visit("files", r.files);
  visit("unix_s", r.unix_s);
}

/// In the order of the variant's alternatives; the frame's type is the place plus one.
constexpr const char* kNames[] = {"run_started",      "attempt_started", "group_leased",       "lease_lost",
                                  "group_rolled_out", "group_scored",    "group_refused",      "batch_chosen",
                                  "step_trained",     "evaluated",       "checkpoint_written", "run_finished",
                                  "attempt_stopped",  "logs_pruned"};
static_assert(std::size(kNames) == std::variant_size_v<LedgerRecord>);

struct JsonWriter {
  Json json;
  template <class T>
  void operator()(const char* key, const T& value) {
    json[key] = value;
  }
  /// Finite numbers are written so that they read back as the same bits; JSON has no others, which become their names.
  void operator()(const char* key, const double& value) {
    json[key] = std::isfinite(value) ? Json(value) : Json(std::isnan(value) ? "nan" : shortest(value));  // not "-nan"
  }
  void operator()(const char* key, const Purpose& value) {
    json[key] = value == Purpose::kEvaluate ? "evaluate" : "train";
  }
  void operator()(const char* key, const RolloutPlace& value) { json[key] = {value.file, value.offset, value.size}; }
  void operator()(const char* key, const std::vector<RolloutPlace>& values) {
    Json list = Json::array();
    for (const RolloutPlace& v : values) list.push_back({v.file, v.offset, v.size});
    json[key] = list;
  }
};

RolloutPlace place_of(const Json& json) {
  return {json.at(0).get<std::uint32_t>(), json.at(1).get<std::uint64_t>(), json.at(2).get<std::uint64_t>()};
}

double not_finite_named(const std::string& name) {
  const double infinity = std::numeric_limits<double>::infinity();
  if (name == "inf") return infinity;
  if (name == "-inf") return -infinity;
  if (name == "nan") return std::numeric_limits<double>::quiet_NaN();
  throw ConfigError("\"" + name + "\" is no number");
}

struct JsonReader {
  const Json& json;
  template <class T>
  void operator()(const char* key, T& value) {
    json.at(key).get_to(value);
  }
  void operator()(const char* key, double& value) {
    const Json& found = json.at(key);
    value = found.is_string() ? not_finite_named(found.get<std::string>()) : found.get<double>();
  }
  void operator()(const char* key, Purpose& value) {
    const auto name = json.at(key).get<std::string>();
    if (name != "train" && name != "evaluate") throw ConfigError("\"" + name + "\" is no purpose");
    value = name == "evaluate" ? Purpose::kEvaluate : Purpose::kTrain;
  }
  void operator()(const char* key, RolloutPlace& value) { value = place_of(json.at(key)); }
  void operator()(const char* key, std::vector<RolloutPlace>& values) {
    values.clear();
    for (const Json& place : json.at(key)) values.push_back(place_of(place));
  }
};

template <std::size_t I = 0>
LedgerRecord read_alternative(std::size_t index, const Json& json) {
  if constexpr (I == std::variant_size_v<LedgerRecord>) {
    throw ConfigError("unknown record type " + std::to_string(index + 1));
  } else {
    if (index != I) return read_alternative<I + 1>(index, json);
    std::variant_alternative_t<I, LedgerRecord> record;
    JsonReader reader{json};
    fields(reader, record);
    return record;
  }
}

/// The first record says how all that follow are to be read, so it is looked at before its other fields are.
void require_format(const Json& run_started, const std::string& at) {
  const auto found = run_started.value("format", std::int64_t{1});
  if (found == kLedgerFormat) return;
  throw ConfigError(at + ": the run is written in ledger format " + std::to_string(found) + ", but this program reads and writes format " +
                    std::to_string(kLedgerFormat) + ": go on with the Troupe that began the run (version.txt beside it names it), or "
                    "begin a new one with another --run-dir");
}

}  // namespace

std::string to_json_text(const LedgerRecord& record) {
  JsonWriter writer;
  writer.json["record"] = kNames[record.index()];
  std::visit([&](auto copy) { fields(writer, copy); }, record);
  return writer.json.dump();
}

LedgerRecord ledger_record_of(const Frame& frame, const std::string& where) {
  const std::string at = where + " at offset " + std::to_string(frame.position.offset);
  if (frame.type == 0 || frame.type > std::size(kNames)) {
    throw ConfigError(at + ": expected a record type of 1 to " + std::to_string(std::size(kNames)) + ", found " +
                      std::to_string(frame.type));
  }
  const std::size_t index = frame.type - std::size_t{1};
  try {
    const Json json = parse_json(frame.body, at);
    if (index == 0) require_format(json, at);
    return read_alternative(index, json);
  } catch (const nlohmann::json::exception& e) {
    throw ConfigError(at + ": bad " + kNames[index] + " record: " + e.what());
  }
}

}  // namespace troupe
