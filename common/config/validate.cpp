#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/config/config.h"
#include "common/config/options.h"

namespace troupe {
namespace {

void expect(bool condition, const std::string& message) {
  if (!condition) throw ConfigError(message);
}

std::string number(std::int64_t value) { return std::to_string(value); }

/// Of learners or actors.
void check_shares(const ColdStartConfig& cold, const std::string& role, int ranks) {
  if (cold.steps == 0) return;
  const auto divides = [&](std::int64_t value, const char* key) {
    expect(value % ranks == 0, role + ".tensor_parallel = " + number(ranks) + ": expected a divisor of cold_start." + key + " = " + number(value));
  };
  divides(cold.heads, "heads");
  divides(cold.kv_heads, "kv_heads");
  divides(cold.intermediate, "intermediate");
}

void check_cold_start(const ColdStartConfig& cold) {
  if (cold.steps == 0) return;
  expect(cold.hidden % cold.heads == 0, "cold_start.heads = " + number(cold.heads) +
                                            ": expected a divisor of cold_start.hidden = " + number(cold.hidden));
  expect(cold.heads % cold.kv_heads == 0, "cold_start.kv_heads = " + number(cold.kv_heads) +
                                              ": expected a divisor of cold_start.heads = " + number(cold.heads));
  expect(cold.hidden / cold.heads % 2 == 0,
         "cold_start.hidden / cold_start.heads = " + number(cold.hidden / cold.heads) +
             ": expected an even head size (rotary positions come in pairs)");
}

void check_loss(const Config& config) {
  const LossConfig& loss = config.loss;
  expect(loss.dual_clip == 0 || loss.dual_clip > 1,
         "loss.dual_clip = " + shortest(loss.dual_clip) + ": expected 0 (off) or a number above 1");
  expect(loss.overlong_buffer <= config.sampling.max_tokens,
         "loss.overlong_buffer = " + number(loss.overlong_buffer) +
             ": expected at most sampling.max_tokens = " + number(config.sampling.max_tokens));
  expect(loss.reference_refresh_steps == 0 || (loss.kl != "none" && loss.kl_coef > 0),
         "loss.reference_refresh_steps = " + number(loss.reference_refresh_steps) +
             ": expected 0, because there is no KL term (loss.kl = " + loss.kl + ", loss.kl_coef = " + shortest(loss.kl_coef) +
             ")");
  expect(loss.advantage == "gae" || config.critic == CriticConfig(), "[critic]: nothing reads it with loss.advantage = " + loss.advantage +
                                                                         "; expected gae");
  expect(loss.advantage == "reinforce_pp" || loss.advantage == "gae" || config.group.size >= 2,
         "group.size = " + number(config.group.size) + ": loss.advantage = " + loss.advantage +
             " compares the completions of a group and needs at least 2");
}

void check_lora(const LoraConfig& lora) {
  if (lora.rank == 0) return;
  const std::vector<std::string> known = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  std::set<std::string> seen;
  for (const std::string_view target : split(lora.targets, ',')) {
    const std::string name(trim(target));
    expect(std::find(known.begin(), known.end(), name) != known.end() && seen.insert(name).second,
           "lora.targets = " + lora.targets + ": expected each of its names once and of " + join(known, ", ") + ", found '" + name +
               "'");
  }
}

void check_rewards(const std::vector<RewardConfig>& rewards) {
  std::set<std::string> names;
  for (const RewardConfig& reward : rewards) {
    const std::string section = "[reward." + reward.name + "]";
    constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    expect(!reward.name.empty() && reward.name.find_first_not_of(kAllowed) == std::string::npos,
           section + ": expected a name of letters, digits, _ and -");
    expect(names.insert(reward.name).second, section + " is given twice");
    expect(!reward.kind.empty(), "reward." + reward.name + ".kind is missing: expected the name of a reward function");
    expect(std::isfinite(reward.weight),
           "reward." + reward.name + ".weight = " + shortest(reward.weight) + ": expected a number");
  }
}

bool is_loopback(std::string_view host) { return host == "localhost" || host == "[::1]" || host.starts_with("127."); }

void check_hub(const HubConfig& hub) {
  constexpr std::string_view kScheme = "tcp://";
  const std::size_t colon = hub.bind.rfind(':');
  expect(hub.bind.starts_with(kScheme) && colon != std::string::npos && colon > kScheme.size() &&
             colon + 1 < hub.bind.size(),
         "hub.bind = " + hub.bind + ": expected tcp://ADDRESS:PORT");
  const std::string host = hub.bind.substr(kScheme.size(), colon - kScheme.size());
  expect(hub.insecure || is_loopback(host),
         "hub.bind = " + hub.bind +
             ": other machines reach this address and nothing is encrypted; bind to 127.0.0.1, or set "
             "hub.insecure = true on a network that you trust");
}

}  // namespace

void Config::validate() const {
  for (const Option& option : config_options()) {
    expect(option.in_range(*this), option.key + " = " + option.get(*this) + ": expected " + option.expected);
  }
  expect(batch.updates <= batch.prompts, "batch.updates = " + number(batch.updates) +
                                             ": expected at most batch.prompts = " + number(batch.prompts) +
                                             ", a group is never split over updates");
  expect(!checkpoint.keep_best || eval.every > 0,
         "checkpoint.keep_best = true: expected eval.every above 0, the best is told by its evaluations");
  expect(model.path.empty() || cold_start.steps == 0,
         "model.path = " + model.path + ": expected it empty, because cold_start.steps = " + number(cold_start.steps) +
             " starts from random weights");
  stop_strings(sampling);
  expect(sampling.min_tokens < sampling.max_tokens, "sampling.min_tokens = " + number(sampling.min_tokens) +
                                                        ": expected less than sampling.max_tokens = " + number(sampling.max_tokens));
  check_cold_start(cold_start);
  check_shares(cold_start, "learners", learners.tensor_parallel);
  check_shares(cold_start, "actors", actors.tensor_parallel);
  expect(actors.tensor_parallel == 1 || actors.weights != "nccl",
         "actors.tensor_parallel = " + number(actors.tensor_parallel) + ": expected 1 beside actors.weights = nccl, which brings whole models");
  check_loss(*this);
  check_lora(lora);
  check_rewards(rewards);
  check_hub(hub);
}

void Config::validate_ranks(int ranks) const {
  expect(ranks % learners.tensor_parallel == 0, "learners.tensor_parallel = " + number(learners.tensor_parallel) +
                                                    ": expected a divisor of the number of learners, " + number(ranks));
}

void Config::validate_for_training() const {
  validate_ranks(learners.count);
  expect(!model.path.empty() || cold_start.steps > 0,
         "model.path is empty: expected a model directory, or cold_start.steps above 0 for random weights");
  expect(cold_start.steps == 0 || !cold_start.data.empty(),
         "cold_start.data is empty: expected rows for the " + number(cold_start.steps) + " steps of cold_start.steps");
  expect(!data.train.empty(), "data.train is empty: expected a .jsonl file or task:NAME/train");
  expect(eval.every == 0 || !data.eval.empty(),
         "data.eval is empty: expected held-out rows for eval.every = " + number(eval.every));
  expect(!rewards.empty(), "no [reward.NAME] section: expected at least one reward");
  expect(sampling.temperature > 0,
         "sampling.temperature = 0: expected a number above 0, equal completions of a prompt teach nothing");
}

std::vector<std::string> stop_strings(const SamplingConfig& sampling) {
  const std::string what = "sampling.stop = " + sampling.stop + ": expected a JSON array of 1 to 16 strings of 1 to 256 bytes";
  if (sampling.stop.empty()) return {};
  const nlohmann::json json = nlohmann::json::parse(sampling.stop, nullptr, false);
  expect(json.is_array() && !json.empty() && json.size() <= 16, what);
  std::vector<std::string> strings;
  for (const nlohmann::json& each : json) {
    expect(each.is_string() && !each.get_ref<const std::string&>().empty() && each.get_ref<const std::string&>().size() <= 256, what);
    strings.push_back(each);
  }
  return strings;
}

std::vector<std::string> exactness_obstacles(const Config& config) {
  std::vector<std::string> obstacles;
  const auto add = [&](bool stands_in_the_way, const std::string& what) {
    if (stands_in_the_way) obstacles.push_back(what);
  };
  add(config.sampling.top_p < 1, "sampling.top_p = " + shortest(config.sampling.top_p) + " truncates the distribution");
  add(config.sampling.top_k > 0, "sampling.top_k = " + number(config.sampling.top_k) + " truncates the distribution");
  add(config.sampling.min_p > 0, "sampling.min_p = " + shortest(config.sampling.min_p) + " truncates the distribution");
  add(config.sampling.min_tokens > 0, "sampling.min_tokens = " + number(config.sampling.min_tokens) + " keeps stop tokens back");
  add(config.actors.device != config.learners.device,
      "actors.device = " + config.actors.device + " beside learners.device = " + config.learners.device + ": their kernels may differ");
  add(config.learners.tensor_parallel != config.actors.tensor_parallel,
      "learners.tensor_parallel = " + number(config.learners.tensor_parallel) + " beside actors.tensor_parallel = " +
          number(config.actors.tensor_parallel) + ": the parts of a row are added in another order");
  add(config.run.max_lag > 0, "run.max_lag = " + number(config.run.max_lag) + " trains tokens of older weights");
  add(config.actors.on_new_weights == "keep", "actors.on_new_weights = keep mixes versions in the KV cache");
  return obstacles;
}

}  // namespace troupe
