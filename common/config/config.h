#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace troupe {

// One struct per component: plain values with their defaults. Every member is declared once, with its key, range and help,
// in config.cpp; parsing, --help, printing and the config hash come from that declaration.

struct RunConfig {
  std::uint64_t seed = 1;
  std::int64_t steps = 100;
  std::int64_t max_lag = 0;
  bool exact = true;
  int max_restarts = 3;
  int hash_every = 1;   // steps between weight hashes in the ledger
  int max_skipped = 3;  // steps in a row without a finite gradient before the run is given up
  bool strict = false;    // a run that is not learning stops
  bool operator==(const RunConfig&) const = default;
};

struct LearnersConfig {
  int count = 1;
  int threads = 1;              // of each rank
  std::string device = "auto";  // auto | cpu | cuda
  std::string recompute = "auto";  // auto | none | activations | block
  int zero_stage = 1;
  int tensor_parallel = 1;  // 1 | 2 | 4 | 8
  std::string offload = "none";  // none | optimizer | reference | all
  bool operator==(const LearnersConfig&) const = default;
};

struct ActorsConfig {
  int count = 1;
  int threads = 1;                     // of each actor
  std::string device = "auto";         // auto | cpu | cuda
  int tensor_parallel = 1;             // 1 | 2 | 4 | 8: of each actor
  int slots = 64;                      // sequences generated at once
  double kv_memory_gib = 0;            // of each actor; 0: what the slots can need, at most half of the machine's
  std::string weights = "auto";        // auto | shm | nccl | stream
  std::string on_new_weights = "recompute";  // recompute | keep | finish
  bool operator==(const ActorsConfig&) const = default;
};

struct RewardersConfig {
  int count = 1;
  int verifiers = 1;         // verifier processes of each rewarder
  std::string device = "auto";  // auto | cpu | cuda: where reward models compute
  double max_failed = 0.5;   // share of groups
  bool operator==(const RewardersConfig&) const = default;
};

struct ModelConfig {
  std::string path;            // Hugging Face directory; empty with [cold_start]
  std::string dtype = "fp32";  // compute type: fp32 | bf16; master weights are fp32 always
  bool operator==(const ModelConfig&) const = default;
};

/// Random weights and a short SFT before step 1, in the same run directory.
struct ColdStartConfig {
  std::int64_t steps = 0;  // 0: no cold start, model.path is used
  std::int64_t batch = 32;
  double lr = 3e-3;
  std::int64_t warmup_steps = 10;
  std::string data;                        // rows with prompt and completion, or task:NAME/cold_start
  std::string tokenizer = "characters";    // characters, or a directory with tokenizer.json
  std::int64_t hidden = 128;
  std::int64_t layers = 4;
  std::int64_t heads = 4;
  std::int64_t kv_heads = 2;
  std::int64_t intermediate = 384;
  std::int64_t max_positions = 512;
  bool operator==(const ColdStartConfig&) const = default;
};

struct DataConfig {
  std::string train;  // file.jsonl[:weight][,file2.jsonl:weight] or task:NAME/train
  std::string eval;
  std::string question_key;  // empty: question, problem, prompt or messages
  std::string prompt = "auto";  // auto | model | a built-in prompt
  std::string date;             // YYYY-MM-DD
  std::int64_t max_prompt_tokens = 512;
  std::string long_prompts = "refuse";  // refuse | drop
  std::int64_t sequence_tokens = 512;   // of a packed sequence of pretraining
  bool operator==(const DataConfig&) const = default;
};

struct GroupConfig {
  int size = 8;
  bool operator==(const GroupConfig&) const = default;
};

struct BatchConfig {
  int prompts = 16;
  int updates = 1;             // optimizer updates (mini-batches) an epoch
  int epochs = 1;
  std::int64_t micro_tokens = 4096;  // token budget of one forward and backward of a rank
  bool share_prompts = false;        // a micro-batch reads a prompt of several completions once
  bool dynamic_sampling = false;     // drop and refill groups whose rewards are all equal (DAPO)
  bool operator==(const BatchConfig&) const = default;
};

struct SamplingConfig {
  double temperature = 1.0;
  double top_p = 1.0;
  int top_k = 0;  // 0: all
  double min_p = 0.0;
  int max_tokens = 256;
  int min_tokens = 0;  // stop tokens and strings count from here on
  std::string stop;    // a JSON array of strings
  bool operator==(const SamplingConfig&) const = default;
};

struct OptimizerConfig {
  double lr = 1e-6;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  double clip_norm = 1.0;  // 0: no clipping
  std::string schedule = "constant";  // constant | linear | cosine
  std::int64_t warmup_steps = 0;
  double min_lr_ratio = 0.0;  // of lr, at the end of linear and cosine
  bool operator==(const OptimizerConfig&) const = default;
};

/// The policy objective. Names as published; learner/policy_loss.h has the formulas.
struct LossConfig {
  std::string policy = "clip";       // clip | gspo | cispo | reinforce
  double clip_low = 0.2;
  double clip_high = 0.2;
  double dual_clip = 0.0;            // 0: off; else c > 1
  std::string kl = "k3";             // none | k1 | k2 | k3
  std::string kl_in = "loss";        // loss | reward
  double kl_coef = 0.001;
  std::string normalise = "sequence_mean";  // sequence_mean (GRPO) | token_mean (DAPO) | dr_grpo
  std::string advantage = "grpo";    // grpo | no_std | rloo | reinforce_pp | reinforce_pp_baseline | gae
  double tis_cap = 0.0;              // truncated importance sampling of rollout against trainer; 0: off
  bool overlong_mask = false;        // completions cut off at max_tokens do not train
  int overlong_buffer = 0;           // soft overlong penalty over the last tokens before max_tokens; 0: off
  double overlong_penalty = 1.0;
  std::int64_t reference_refresh_steps = 0;  // 0: the reference stays the model of the start
  bool operator==(const LossConfig&) const = default;
};

/// Low-rank adapters instead of full training (learner/lora.h).
struct LoraConfig {
  std::int64_t rank = 0;  // 0: all parameters are trained
  double alpha = 16;
  std::string targets = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj";
  bool operator==(const LoraConfig&) const = default;
};

/// The value function of PPO, where loss.advantage = gae (learner/critic.h).
struct CriticConfig {
  std::string path;  // empty: the model that the run starts from
  double lr = 1e-5;
  double gamma = 1.0;
  double lambda = 0.95;
  double clip_value = 0.2;  // 0: no clipping
  bool whiten = true;
  bool operator==(const CriticConfig&) const = default;
};

/// Direct preference optimisation (learner/stages/dpo.h).
struct DpoConfig {
  double beta = 0.1;
  bool operator==(const DpoConfig&) const = default;
};

/// One `[reward.NAME]` section.
struct RewardConfig {
  std::string name;
  std::string kind = "";   // see rewarders/reward.h
  double weight = 1.0;
  std::map<std::string, std::string> parameters = {};  // the kind's own keys
  bool operator==(const RewardConfig&) const = default;
};

struct CheckpointConfig {
  std::int64_t every = 50;  // steps; the last step always has one
  int keep_last = 2;
  std::int64_t keep_every = 0;
  bool keep_best = false;
  bool operator==(const CheckpointConfig&) const = default;
};

struct EvalConfig {
  std::int64_t every = 0;  // steps; 0: only before the first and after the last
  int prompts = 64;        // held-out rows, greedy
  bool operator==(const EvalConfig&) const = default;
};

/// When a run counts as not learning (learner/stages/health.h).
struct HealthConfig {
  std::int64_t window = 5;  // steps in a row that must show a sign
  double max_zero_variance = 0.9;
  double max_kl = 1.0;           // nats per token
  double max_entropy_rise = 1.0; // nats per token
  double min_entropy = 0.001;    // nats per token
  double max_log_ratio = 0.5;
  bool operator==(const HealthConfig&) const = default;
};

struct DeadlineConfig {
  double collective_s = 120;
  double phase_s = 1800;
  double heartbeat_s = 10;
  double lease_s = 60;
  double reconnect_s = 60;
  double startup_s = 120;
  bool operator==(const DeadlineConfig&) const = default;
};

struct HubConfig {
  double ahead = 1.25;
  bool insecure = false;
  std::string bind = "tcp://127.0.0.1:*";
  bool operator==(const HubConfig&) const = default;
};

struct Config {
  RunConfig run;
  LearnersConfig learners;
  ActorsConfig actors;
  RewardersConfig rewarders;
  ModelConfig model;
  ColdStartConfig cold_start;
  DataConfig data;
  GroupConfig group;
  BatchConfig batch;
  SamplingConfig sampling;
  OptimizerConfig optimizer;
  LossConfig loss;
  CriticConfig critic;
  DpoConfig dpo;
  LoraConfig lora;
  std::vector<RewardConfig> rewards;  // in the order of the file
  CheckpointConfig checkpoint;
  EvalConfig eval;
  HealthConfig health;
  DeadlineConfig deadline;
  HubConfig hub;
  bool operator==(const Config&) const = default;

  /// Checks ranges and the keys' relations. @throws ConfigError naming the key, its value and what was expected.
  void validate() const;

  /// Checks what learners.tensor_parallel asks of the number of learners. @throws ConfigError.
  void validate_ranks(int ranks) const;

  /// Checks that everything is there that a training run needs: a model or a cold start, rows, rewards. Commands that need
  /// less do not call it. @throws ConfigError naming the key.
  void validate_for_training() const;
};

/// Reads an INI file and then `overrides` ("--section.key", "value" or "--section.key=value"), which beat it. The result is
/// validated. A comment is '#' or ';' at the start of a line, or '#' after white space; a value in double quotes is taken
/// literally. @throws ConfigError naming file and line, key, the nearest known key, value and range.
Config load_config(const std::string& path, const std::vector<std::string>& overrides);

/// The same from text instead of a file (`where` names it in errors).
Config parse_config(const std::string& text, const std::string& where, const std::vector<std::string>& overrides);

/// The resolved configuration as an INI file that load_config reads back to an equal Config.
std::string print_config(const Config& config);

/// XXH3-128 over the keys that change numbers: not counts of processes, threads, deadlines, checkpoints, evaluation,
/// model.path (the ledger has the weights' hash) or run.steps (a run may be made longer).
std::string config_hash(const Config& config);

/// Why `b` cannot go on with the run of `a`: the number-changing keys in which they differ, each as "key: a -> b", and
/// run.steps where `b` has fewer. Empty where it can.
std::vector<std::string> config_differences(const Config& a, const Config& b);

/// The texts that end a completion. @throws ConfigError where sampling.stop is not a JSON array of 1 to 16 strings of 1 to 256 bytes.
std::vector<std::string> stop_strings(const SamplingConfig& sampling);

/// The settings that keep sampler and trainer from agreeing to the bit, each with its value and reason. Empty where run.exact
/// can hold.
std::vector<std::string> exactness_obstacles(const Config& config);

/// One line per key: name, default, range, help; for `troupe --help-keys` and the documentation.
std::string describe_keys();

}  // namespace troupe
