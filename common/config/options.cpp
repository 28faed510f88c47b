#include "common/config/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <type_traits>

#include "common/base/text.h"

namespace troupe {
namespace {

/// What a value must hold to beside its type.
struct Limits {
  std::optional<double> low = std::nullopt;
  std::optional<double> high = std::nullopt;
  bool low_open = false;
  bool high_open = false;
  std::vector<std::string> choices = {};
};

Limits any() { return {}; }
Limits at_least(double low) { return {.low = low}; }
Limits above(double low) { return {.low = low, .low_open = true}; }
Limits between(double low, double high) { return {.low = low, .high = high}; }
Limits above_up_to(double low, double high) { return {.low = low, .high = high, .low_open = true}; }
Limits from_to_below(double low, double high) { return {.low = low, .high = high, .high_open = true}; }
Limits one_of(std::vector<std::string> choices) { return {.choices = std::move(choices)}; }

template <class T>
std::string describe(const Limits& limits) {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if (!limits.choices.empty()) return "one of " + join(limits.choices, ", ");
  if constexpr (std::is_same_v<T, std::string>) return "text";
  std::string text = std::is_floating_point_v<T> ? "a number" : "a whole number";
  if (std::is_unsigned_v<T> && !limits.low) text += " of at least 0";
  if (limits.low) text += (limits.low_open ? " above " : " of at least ") + shortest(*limits.low);
  if (limits.low && limits.high) text += " and";
  if (limits.high) text += (limits.high_open ? " below " : " at most ") + shortest(*limits.high);
  return text;
}

template <class T>
std::optional<T> parse(const std::string& text) {
  if constexpr (std::is_same_v<T, std::string>) {
    return text;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (text == "true") return true;
    if (text == "false") return false;
    return std::nullopt;
  } else if constexpr (std::is_floating_point_v<T>) {
    return parse_double(text);
  } else {
    T value{};
    const char* end = text.data() + text.size();
    const auto result = std::from_chars(text.data(), end, value);
    if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
    return value;
  }
}

template <class T>
std::string print(const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    return value;
  } else if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_floating_point_v<T>) {
    return shortest(value);
  } else {
    return std::to_string(value);
  }
}

template <class T>
bool holds(const Limits& limits, const T& value) {
  if (!limits.choices.empty()) return std::find(limits.choices.begin(), limits.choices.end(), print(value)) != limits.choices.end();
  if constexpr (std::is_same_v<T, std::string>) {
    return true;
  } else {
    const double number = static_cast<double>(value);
    if (!std::isfinite(number)) return false;
    if (limits.low && (limits.low_open ? number <= *limits.low : number < *limits.low)) return false;
    return !limits.high || (limits.high_open ? number < *limits.high : number <= *limits.high);
  }
}

enum class Effect { kNumbers, kConduct };  // changes the numbers of a run, or only how it is carried out
constexpr Effect kNumbers = Effect::kNumbers;
constexpr Effect kConduct = Effect::kConduct;

/// Declares the members of one section, in the order of the calls.
template <class Section>
auto section(const std::string& name, Section Config::*member_of_config, std::vector<Option>& options) {
  return [=, &options]<class T>(const std::string& key, T Section::*member, Effect effect, const Limits& limits,
                                const std::string& help) {
    options.push_back(
        {.key = name + "." + key,
         .expected = describe<T>(limits),
         .help = help,
         .changes_numbers = effect == kNumbers,
         .set =
             [=](Config& config, const std::string& text) {
               const std::optional<T> value = parse<T>(text);
               if (!value || !holds(limits, *value)) return false;
               config.*member_of_config.*member = *value;
               return true;
             },
         .get = [=](const Config& config) { return print(config.*member_of_config.*member); },
         .in_range = [=](const Config& config) { return holds(limits, config.*member_of_config.*member); }});
  };
}

void add_roles(std::vector<Option>& options) {
  const auto run = section("run", &Config::run, options);
  run("seed", &RunConfig::seed, kNumbers, any(), "key of every random stream of the run");
  run("steps", &RunConfig::steps, kConduct, at_least(1), "training steps in all; a resumed run may get more");
  run("max_lag", &RunConfig::max_lag, kNumbers, between(0, 1000),
      "how many versions old a trained token may be; 0: synchronous");
  run("exact", &RunConfig::exact, kNumbers, any(), "sampler and learner agree on every log-probability to the bit");
  run("max_restarts", &RunConfig::max_restarts, kConduct, at_least(0),
      "restarts in a row without a step before the supervisor gives up");
  run("hash_every", &RunConfig::hash_every, kConduct, at_least(0),
      "steps between hashes of the weights in the ledger; 0: at checkpoints only");
  run("max_skipped", &RunConfig::max_skipped, kConduct, at_least(1),
      "steps in a row whose gradients are not finite before the run stops with a checkpoint");
  run("strict", &RunConfig::strict, kConduct, any(),
      "stop with a checkpoint and exit code 1 once a [health] check says that the run is not learning; --strict for short");
  const auto learners = section("learners", &Config::learners, options);
  learners("count", &LearnersConfig::count, kConduct, between(1, 65536), "learner ranks");
  learners("threads", &LearnersConfig::threads, kConduct, between(1, 1024), "threads of each learner rank");
  learners("device", &LearnersConfig::device, kConduct, one_of({"auto", "cpu", "cuda"}),
           "where the learners compute; auto: a GPU where there is one and model.dtype = bf16");
  learners("recompute", &LearnersConfig::recompute, kConduct, one_of({"auto", "none", "activations", "block"}),
           "what the backward pass computes again instead of keeping it, to the same bits: none, the rows of norms and MLPs, or all of a "
           "block but its input; auto: none, or what memory asks for");
  learners("zero_stage", &LearnersConfig::zero_stage, kConduct, between(1, 3),
           "what is shared out over the ranks: 1 the optimizer's state, 2 gradients too, 3 parameters and the reference too");
  learners("tensor_parallel", &LearnersConfig::tensor_parallel, kConduct, one_of({"1", "2", "4", "8"}),
           "ranks that hold one model together, each a share of its heads and of its MLPs' inner width");
  learners("offload", &LearnersConfig::offload, kConduct, one_of({"none", "optimizer", "reference", "all"}),
           "what lies in the host's memory instead of the GPU's: the optimizer's state, which is updated there, the reference, which is "
           "brought over for each step, or both");
  const auto actors = section("actors", &Config::actors, options);
  actors("count", &ActorsConfig::count, kConduct, between(0, 65536), "actor processes; 0: started by hand");
  actors("threads", &ActorsConfig::threads, kConduct, between(1, 1024), "threads of each actor");
  actors("device", &ActorsConfig::device, kConduct, one_of({"auto", "cpu", "cuda"}),
         "where the actors compute; auto: a GPU where there is one and model.dtype = bf16");
  actors("tensor_parallel", &ActorsConfig::tensor_parallel, kConduct, one_of({"1", "2", "4", "8"}),
         "ranks that hold an actor's model together, threads of it, on GPUs one each; exact beside as many learners that do");
  actors("slots", &ActorsConfig::slots, kConduct, between(1, 65536), "sequences that an actor generates at once");
  actors("kv_memory_gib", &ActorsConfig::kv_memory_gib, kConduct, at_least(0),
         "an actor's memory for keys and values; 0: what its slots can need, at most half of the machine's, or 0.9 of what is free of the GPU's");
  actors("weights", &ActorsConfig::weights, kConduct, one_of({"auto", "shm", "nccl", "stream"}),
         "how weights reach the actors: shared memory, NCCL between GPUs or a ZeroMQ stream");
  actors("on_new_weights", &ActorsConfig::on_new_weights, kNumbers, one_of({"recompute", "keep", "finish"}),
         "what becomes of running sequences when new weights arrive");
  const auto rewarders = section("rewarders", &Config::rewarders, options);
  rewarders("count", &RewardersConfig::count, kConduct, between(0, 65536), "rewarder processes; 0: started by hand");
  rewarders("verifiers", &RewardersConfig::verifiers, kConduct, between(1, 1024),
            "verifier processes of each rewarder");
  rewarders("device", &RewardersConfig::device, kConduct, one_of({"auto", "cpu", "cuda"}),
            "where reward models compute, unless reward.NAME.device says otherwise; auto: a GPU where there is one and their dtype is bf16");
  rewarders("max_failed", &RewardersConfig::max_failed, kConduct, above_up_to(0, 1),
            "share of the groups, over batch.prompts of them at least, on which a verifier may fail before the run stops; 1: never");
}

void add_model(std::vector<Option>& options) {
  const auto model = section("model", &Config::model, options);
  model("path", &ModelConfig::path, kConduct, any(),
        "Hugging Face directory to start from (the ledger holds its weights' hash)");
  model("dtype", &ModelConfig::dtype, kNumbers, one_of({"fp32", "bf16"}),
        "type to compute in; master weights are fp32 always");
  const auto cold_start = section("cold_start", &Config::cold_start, options);
  cold_start("steps", &ColdStartConfig::steps, kNumbers, at_least(0),
             "SFT steps from random weights before step 1; 0: start from model.path, or pretrain random weights");
  cold_start("batch", &ColdStartConfig::batch, kNumbers, at_least(1), "rows of an SFT step");
  cold_start("lr", &ColdStartConfig::lr, kNumbers, between(0, 1), "learning rate of the SFT");
  cold_start("warmup_steps", &ColdStartConfig::warmup_steps, kNumbers, at_least(0), "SFT steps of linear warm-up");
  cold_start("data", &ColdStartConfig::data, kNumbers, any(),
             "rows with prompt and completion: a .jsonl file or task:NAME/cold_start");
  cold_start("tokenizer", &ColdStartConfig::tokenizer, kNumbers, any(),
             "characters, or a directory with tokenizer.json");
  cold_start("hidden", &ColdStartConfig::hidden, kNumbers, at_least(1), "width of the new model");
  cold_start("layers", &ColdStartConfig::layers, kNumbers, at_least(1), "blocks of the new model");
  cold_start("heads", &ColdStartConfig::heads, kNumbers, at_least(1), "attention heads; divides hidden");
  cold_start("kv_heads", &ColdStartConfig::kv_heads, kNumbers, at_least(1), "key-value heads; divides heads");
  cold_start("intermediate", &ColdStartConfig::intermediate, kNumbers, at_least(1), "width of the feed-forward layer");
  cold_start("max_positions", &ColdStartConfig::max_positions, kNumbers, at_least(1),
             "longest sequence of the new model in tokens");
}

void add_data(std::vector<Option>& options) {
  const auto data = section("data", &Config::data, options);
  data("train", &DataConfig::train, kNumbers, any(), "a.jsonl, a.jsonl:0.7,b.jsonl:0.3 or task:NAME/train");
  data("eval", &DataConfig::eval, kConduct, any(), "held-out rows, written like data.train");
  data("question_key", &DataConfig::question_key, kNumbers, any(),
       "the rows' key of the question; empty: question, problem, prompt or messages");
  data("prompt", &DataConfig::prompt, kNumbers, one_of({"auto", "model", "plain", "r1_zero", "chatml", "llama3", "r1"}),
       "template around the question: the model's own, or a built-in one; auto: plain for texts, the model's for messages");
  data("date", &DataConfig::date, kNumbers, any(), "YYYY-MM-DD for templates that ask for today's date; empty: none");
  data("max_prompt_tokens", &DataConfig::max_prompt_tokens, kNumbers, at_least(1), "longest prompt in tokens");
  data("long_prompts", &DataConfig::long_prompts, kNumbers, one_of({"refuse", "drop"}),
       "what becomes of a longer prompt: an error that names file and row, or left out and counted");
  data("sequence_tokens", &DataConfig::sequence_tokens, kNumbers, at_least(2),
       "tokens of a sequence into which pretraining packs documents");
  const auto group = section("group", &Config::group, options);
  group("size", &GroupConfig::size, kNumbers, between(1, 65536), "completions of a prompt");
  const auto batch = section("batch", &Config::batch, options);
  batch("prompts", &BatchConfig::prompts, kNumbers, between(1, 1000000),
        "groups of a step; of a supervised stage its rows, pairs or packed sequences");
  batch("updates", &BatchConfig::updates, kNumbers, at_least(1), "optimizer updates (mini-batches) of an epoch");
  batch("epochs", &BatchConfig::epochs, kNumbers, at_least(1), "passes over a step's groups");
  batch("micro_tokens", &BatchConfig::micro_tokens, kNumbers, at_least(1),
        "token budget of one forward and backward of a rank");
  batch("share_prompts", &BatchConfig::share_prompts, kNumbers, any(),
        "completions of one prompt are trained behind one copy of it: the same gradient, its sums in another order");
  batch("dynamic_sampling", &BatchConfig::dynamic_sampling, kNumbers, any(),
        "drop and refill groups whose rewards are all equal (DAPO)");
  const auto sampling = section("sampling", &Config::sampling, options);
  sampling("temperature", &SamplingConfig::temperature, kNumbers, between(0, 100), "divides the logits; 0: argmax");
  sampling("top_p", &SamplingConfig::top_p, kNumbers, above_up_to(0, 1), "nucleus; 1: everything");
  sampling("top_k", &SamplingConfig::top_k, kNumbers, at_least(0), "most probable tokens to draw from; 0: all");
  sampling("min_p", &SamplingConfig::min_p, kNumbers, from_to_below(0, 1),
           "least probability relative to the most probable token's");
  sampling("max_tokens", &SamplingConfig::max_tokens, kNumbers, at_least(1), "longest completion in tokens");
  sampling("min_tokens", &SamplingConfig::min_tokens, kNumbers, at_least(0),
           "tokens before which neither a stop token is drawn nor a stop string counts");
  sampling("stop", &SamplingConfig::stop, kNumbers, any(),
           "texts that end a completion, as a JSON array of strings: [\"</answer>\"]");
}

void add_learning(std::vector<Option>& options) {
  const auto optimizer = section("optimizer", &Config::optimizer, options);
  optimizer("lr", &OptimizerConfig::lr, kNumbers, between(0, 1), "learning rate of AdamW after warm-up");
  optimizer("beta1", &OptimizerConfig::beta1, kNumbers, from_to_below(0, 1), "decay of the first moment");
  optimizer("beta2", &OptimizerConfig::beta2, kNumbers, from_to_below(0, 1), "decay of the second moment");
  optimizer("eps", &OptimizerConfig::eps, kNumbers, above(0), "added to the root of the second moment");
  optimizer("weight_decay", &OptimizerConfig::weight_decay, kNumbers, at_least(0),
            "decoupled, times the learning rate");
  optimizer("clip_norm", &OptimizerConfig::clip_norm, kNumbers, at_least(0), "largest gradient norm; 0: no clipping");
  optimizer("schedule", &OptimizerConfig::schedule, kNumbers, one_of({"constant", "linear", "cosine"}),
            "learning rate after warm-up, up to run.steps");
  optimizer("warmup_steps", &OptimizerConfig::warmup_steps, kNumbers, at_least(0), "steps of linear warm-up");
  optimizer("min_lr_ratio", &OptimizerConfig::min_lr_ratio, kNumbers, between(0, 1),
            "share of lr at the end of linear and cosine");
  const auto loss = section("loss", &Config::loss, options);
  loss("policy", &LossConfig::policy, kNumbers, one_of({"clip", "gspo", "cispo", "reinforce"}), "the policy objective");
  loss("clip_low", &LossConfig::clip_low, kNumbers, between(0, 1), "the ratio is clipped below at 1 - clip_low");
  loss("clip_high", &LossConfig::clip_high, kNumbers, at_least(0), "the ratio is clipped above at 1 + clip_high");
  loss("dual_clip", &LossConfig::dual_clip, kNumbers, at_least(0),
       "bound on the ratio under a negative advantage, above 1; 0: off");
  loss("kl", &LossConfig::kl, kNumbers, one_of({"none", "k1", "k2", "k3"}),
       "estimator of the KL divergence to the reference model");
  loss("kl_in", &LossConfig::kl_in, kNumbers, one_of({"loss", "reward"}), "where the KL term goes");
  loss("kl_coef", &LossConfig::kl_coef, kNumbers, at_least(0), "weight of the KL term");
  loss("normalise", &LossConfig::normalise, kNumbers, one_of({"sequence_mean", "token_mean", "dr_grpo"}),
       "how token losses are averaged: GRPO, DAPO or Dr. GRPO");
  loss("advantage", &LossConfig::advantage, kNumbers,
       one_of({"grpo", "no_std", "rloo", "reinforce_pp", "reinforce_pp_baseline", "gae"}),
       "how rewards become advantages; gae: by a critic, which makes it PPO ([critic])");
  loss("tis_cap", &LossConfig::tis_cap, kNumbers, at_least(0),
       "cap of the importance weight of trainer against rollout; 0: off");
  loss("overlong_mask", &LossConfig::overlong_mask, kNumbers, any(),
       "completions cut off at sampling.max_tokens do not train");
  loss("overlong_buffer", &LossConfig::overlong_buffer, kNumbers, at_least(0),
       "last tokens before sampling.max_tokens that cost reward; 0: off");
  loss("overlong_penalty", &LossConfig::overlong_penalty, kNumbers, at_least(0), "reward lost at sampling.max_tokens");
  loss("reference_refresh_steps", &LossConfig::reference_refresh_steps, kNumbers, at_least(0),
       "steps after which the policy becomes the reference model of the KL term (R1: 400); 0: never");
  const auto critic = section("critic", &Config::critic, options);
  critic("path", &CriticConfig::path, kNumbers, any(),
         "reward model, or language model, that the critic starts from; empty: the model that the run starts from");
  critic("lr", &CriticConfig::lr, kNumbers, between(0, 1), "learning rate of the critic; the rest is the policy's [optimizer]");
  critic("gamma", &CriticConfig::gamma, kNumbers, between(0, 1), "discount of later rewards, a token");
  critic("lambda", &CriticConfig::lambda, kNumbers, between(0, 1),
         "0: advantages of one step; 1: of the whole rest of the completion");
  critic("clip_value", &CriticConfig::clip_value, kNumbers, at_least(0),
         "how far a value may move from the one that the advantages were taken with; 0: as far as it likes");
  critic("whiten", &CriticConfig::whiten, kNumbers, any(), "advantages of a step to mean 0 and deviation 1");
  const auto lora = section("lora", &Config::lora, options);
  lora("rank", &LoraConfig::rank, kNumbers, at_least(0),
       "rank of the adapters that are trained on frozen weights; 0: all weights are trained");
  lora("alpha", &LoraConfig::alpha, kNumbers, above(0), "the adapters' product counts alpha / rank times");
  lora("targets", &LoraConfig::targets, kNumbers, any(),
       "matrices with adapters, of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj");
  const auto dpo = section("dpo", &Config::dpo, options);
  dpo("beta", &DpoConfig::beta, kNumbers, above(0), "strength of the implicit KL constraint to the start model (beta in DPO)");
}

void add_conduct(std::vector<Option>& options) {
  const auto checkpoint = section("checkpoint", &Config::checkpoint, options);
  checkpoint("every", &CheckpointConfig::every, kConduct, at_least(1),
             "steps between checkpoints; the last step always has one");
  checkpoint("keep_last", &CheckpointConfig::keep_last, kConduct, at_least(1), "newest checkpoints to keep");
  checkpoint("keep_every", &CheckpointConfig::keep_every, kConduct, at_least(0),
             "checkpoints of these steps stay; 0: none");
  checkpoint("keep_best", &CheckpointConfig::keep_best, kConduct, any(),
             "the checkpoint with the best held-out accuracy stays");
  const auto eval = section("eval", &Config::eval, options);
  eval("every", &EvalConfig::every, kConduct, at_least(0),
       "steps between evaluations; 0: before the first and after the last only");
  eval("prompts", &EvalConfig::prompts, kConduct, at_least(1),
       "held-out rows of an evaluation, answered greedily; of a supervised stage those of its held-out loss");
  const auto health = section("health", &Config::health, options);
  health("window", &HealthConfig::window, kConduct, at_least(1),
         "steps in a row that must show a sign of not learning before it counts, and be free of it before it is over");
  health("max_zero_variance", &HealthConfig::max_zero_variance, kConduct, above_up_to(0, 1),
         "share of groups whose rewards are all equal from which a step counts as without signal");
  health("max_kl", &HealthConfig::max_kl, kConduct, above(0),
         "KL divergence to the reference in nats per token above which it has run away");
  health("max_entropy_rise", &HealthConfig::max_entropy_rise, kConduct, above(0),
         "nats per token above the first step's entropy, and twice that, above which it has run away");
  health("min_entropy", &HealthConfig::min_entropy, kConduct, at_least(0),
         "nats per token below which the entropy has collapsed, unless nearly every answer is right");
  health("max_log_ratio", &HealthConfig::max_log_ratio, kConduct, above(0),
         "|log ratio| of trainer against sampler at lag 0, on any token of the first update, that counts as far from 0");
  const auto deadline = section("deadline", &Config::deadline, options);
  deadline("collective_s", &DeadlineConfig::collective_s, kConduct, above_up_to(0, 1e7),
           "seconds that a learner rank waits for a peer that does not move on");
  deadline("phase_s", &DeadlineConfig::phase_s, kConduct, above_up_to(0, 1e7),
           "the same for a peer that is loading, exporting or writing a checkpoint");
  deadline("heartbeat_s", &DeadlineConfig::heartbeat_s, kConduct, above_up_to(0, 1e7),
           "seconds of silence after which a peer is gone");
  deadline("lease_s", &DeadlineConfig::lease_s, kConduct, above_up_to(0, 1e7),
           "seconds without progress after which a lease is taken back");
  deadline("reconnect_s", &DeadlineConfig::reconnect_s, kConduct, above_up_to(0, 1e7),
           "seconds that an actor or rewarder looks for a hub that is gone");
  deadline("startup_s", &DeadlineConfig::startup_s, kConduct, above_up_to(0, 1e7),
           "seconds until every rank must have started");
  const auto hub = section("hub", &Config::hub, options);
  hub("ahead", &HubConfig::ahead, kConduct, between(1, 1000), "open groups relative to (max_lag + 1) x batch.prompts");
  hub("insecure", &HubConfig::insecure, kConduct, any(), "allows hub.bind on an address that other machines reach");
  hub("bind", &HubConfig::bind, kConduct, any(), "tcp://ADDRESS:PORT; * for any free port");
}

std::vector<Option> declare_all() {
  std::vector<Option> options;
  add_roles(options);
  add_model(options);
  add_data(options);
  add_learning(options);
  add_conduct(options);
  return options;
}

}  // namespace

const std::vector<Option>& config_options() {
  static const std::vector<Option> options = declare_all();
  return options;
}

}  // namespace troupe
