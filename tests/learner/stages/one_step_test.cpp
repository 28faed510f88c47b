#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/model/checkpoint_io.h"
#include "common/model/safetensors.h"
#include "learner/objective/advantage.h"
#include "learner/gathered_units.h"
#include "learner/lora.h"
#include "learner/objective/packer.h"
#include "learner/stages/dpo.h"
#include "learner/stages/learner_ranks.h"
#include "learner/stages/start_model.h"
#include "learner/stages/supervised.h"
#include "learner/trainer.h"
#include "tests/common/collective/run_ranks.h"

// One step of each stage from each family's checkpoint beside transformers and autograd in float64: tests/parity/make_step_goldens.py,
// which also says what the numbers below are.

namespace fs = std::filesystem;
using namespace troupe;

namespace {

constexpr const char* kFamilies[] = {"llama", "llama3_rope",  "linear_rope", "yarn_rope",    "smollm2",
                                     "qwen2", "qwen2_5_yarn", "qwen3",       "qwen3_untied", "odd_sizes"};
constexpr std::int64_t kEvery = 13;

struct Step {
  std::map<std::string, at::Tensor> golden;
  Parameters start;
  Config config;
  std::vector<Trajectory> completions;        // group after group
  std::vector<std::vector<char>> is_trained;  // of each one's tokens

  explicit Step(const fs::path& folder)
      : golden(read_safetensors(folder / "steps.safetensors")), start(load_parameters(folder, at::kFloat)) {
    config.run.exact = false;  // the tokens were sampled from other weights
    config.sampling.temperature = 0.75;
    config.loss.clip_high = 0.28;
    config.loss.kl_coef = 0.05;
    config.optimizer.lr = 0.01;
    config.optimizer.beta2 = 0.99;
    config.optimizer.eps = 0.01;
    config.optimizer.weight_decay = 0.1;
    read_completions();
    set_advantages();
  }

  template <class T>
  std::vector<T> values(const char* name) const {
    const at::Tensor& tensor = golden.at(name);
    return {tensor.const_data_ptr<T>(), tensor.const_data_ptr<T>() + tensor.numel()};
  }

  SftExample example(std::size_t s) const {
    const std::vector<std::int32_t>& ids = completions[s].ids;
    return {{ids.begin(), ids.begin() + completions[s].prompt_tokens}, {ids.begin() + completions[s].prompt_tokens, ids.end()}, is_trained[s]};
  }

 private:
  void read_completions() {
    const auto ids = values<std::int64_t>("ids"), starts = values<std::int64_t>("sequence_starts"), prompts = values<std::int64_t>("prompt_tokens");
    const auto sampled = values<float>("sampler_logprobs"), trained = values<float>("trained");
    auto logprob = sampled.begin();
    auto flag = trained.begin();
    for (std::size_t s = 0; s < prompts.size(); ++s) {
      Trajectory& completion = completions.emplace_back();
      completion.group = s / 3;
      completion.sample = static_cast<std::uint32_t>(s % 3);
      for (std::int64_t i = starts[s]; i < starts[s + 1]; ++i) completion.ids.push_back(static_cast<std::int32_t>(ids[static_cast<std::size_t>(i)]));
      completion.prompt_tokens = prompts[s];
      completion.sampler_logprobs.assign(logprob, logprob + completion.completion_tokens());
      is_trained.emplace_back(flag, flag + completion.completion_tokens());
      logprob += completion.completion_tokens();
      flag += completion.completion_tokens();
    }
  }

  void set_advantages() {
    std::vector<GroupRewards> rewards(2);
    const auto given = values<float>("rewards");
    for (std::size_t s = 0; s < completions.size(); ++s) rewards[s / 3].emplace_back(given[s]);
    const std::vector<GroupAdvantages> found = advantages("grpo", rewards);
    for (std::size_t s = 0; s < completions.size(); ++s) completions[s].advantage = found[s / 3][s % 3].value();
  }
};

/// How the ranks share out model and data.
struct Layout {
  int tensor = 1;
  int data = 1;
  int stage = 1;
};

/// One update of the stage from the checkpoint.
UpdateTrace taken(const Step& step, const std::string& stage, bool share_prompts, const Layout& layout = {}) {
  UpdateTrace trace;
  const auto errors = run_ranks(layout.tensor * layout.data, 30, [&](Communicator& communicator) {
    Config config = step.config;
    config.batch.share_prompts = share_prompts;
    config.learners.tensor_parallel = layout.tensor;
    config.learners.zero_stage = layout.stage;
    config.learners.device = "cpu";
    config.model.dtype = "fp32";
    config.run.steps = 10;
    LearnerRanks ranks(config, communicator);
    const Parameters parameters = compute_parameters(config, step.start.architecture(), ranks);
    const Parameters frozen = compute_parameters(config, step.start.architecture(), ranks);
    set_from_whole_(frozen, step.start.flat() * 0.75, ranks.all());
    Transformer model(parameters);
    const Transformer reference(frozen);
    ShardedOptimizer optimizer = make_optimizer(std::nullopt, parameters, step.start, config, ranks.shards());
    UpdateTrace own;
    if (stage == "grpo") {
      const StepBatch batch{1, {{step.completions.begin(), step.completions.begin() + 3}, {step.completions.begin() + 3, step.completions.end()}}, {}};
      std::vector<UpdateTrace> traces;
      const StepPlan plan = pack_step(batch, config.batch, layout.data).at(static_cast<std::size_t>(ranks.data().rank()));
      Trainer(config, model, &reference, optimizer, ranks.data()).train(plan, [](const std::string&) {}, &traces);
      own = joined(std::move(traces.at(0)), ranks.data());
      if (communicator.rank() == 0) trace = std::move(own);
      return;
    }
    const bool dpo = stage == "dpo";
    const std::vector<SupervisedUnit> pairs = {{step.example(0), step.example(2)}, {step.example(3), step.example(4)}};
    SupervisedOptions options;
    options.batch = dpo ? 2 : 6;
    options.unit = [&](std::uint64_t i) { return dpo ? pairs[i] : SupervisedUnit{step.example(i)}; };
    options.objective = dpo ? dpo_objective(reference, 0.25, share_prompts) : next_token_objective();
    options.share_prompts = share_prompts;
    options.zero_stage = zero_stage_of(config, ranks.all());
    SupervisedTrainer(model, optimizer, options, ranks.data()).train(1, &own);
    if (communicator.rank() == 0) trace = std::move(own);
  });
  for (const std::string& error : errors) CHECK(error == "");
  return trace;
}

double largest(const at::Tensor& tensor) { return tensor.abs().max().item<double>(); }

void check_golden(const Step& step, const std::string& stage, const UpdateTrace& trace) {
  const auto golden = [&](const std::string& name) { return step.golden.at(stage + "." + name); };
  // Losses are means of terms of about 1 to 10 that each have the roundings of a log-probability.
  CHECK(trace.loss == doctest::Approx(golden("loss").item<double>()).epsilon(5e-6));
  for (const ParameterSpec& spec : step.start.layout().tensors) {
    CAPTURE(spec.name);
    const auto part = [&](const at::Tensor& flat) { return flat.narrow(0, spec.offset, spec.numel); };
    const at::Tensor gradient = part(trace.gradients), expected = golden("gradient." + spec.name), after = golden("after." + spec.name);
    // Relative to the tensor's gradients: sums of up to 200 terms, two layers deep, forward and back: some 40 roundings of 2^-24 each,
    // of terms that cancel to a tenth of their size.
    constexpr double kGradient = 2e-5;
    CHECK(gradient.to(at::kDouble).norm().item<double>() == doctest::Approx(golden("norm." + spec.name).item<double>()).epsilon(kGradient));
    CHECK(largest(gradient.slice(0, 0, c10::nullopt, kEvery) - expected) < kGradient * largest(gradient));
    // An update moves by lr / eps = 1 times what a clipped gradient, of which none is above 1, is off; and weights of up to 4 round.
    CHECK(largest(part(trace.weights_after).slice(0, 0, c10::nullopt, kEvery) - after) < kGradient * largest(gradient) + 0x1p-22);
  }
}

}  // namespace

TEST_SUITE("stages/one_step") {
  TEST_CASE("a step of SFT, GRPO and DPO has the loss, gradients and weights of transformers, autograd and AdamW") {
    for (const char* name : kFamilies) {
      const Step step(fs::path(TROUPE_TEST_DATA) / "parity/families" / name);
      for (const char* stage : {"sft", "grpo", "dpo"}) {
        CAPTURE(name);
        CAPTURE(stage);
        check_golden(step, stage, taken(step, stage, false));
      }
    }
  }

  TEST_CASE("so it has by two, three and four ranks, at each stage, and by ranks that hold the model together") {
    const std::vector<Layout> apart = {{1, 2, 1}, {1, 3, 2}, {1, 4, 3}}, together = {{2, 1, 1}, {2, 1, 3}, {2, 2, 2}, {2, 2, 3}};
    for (const char* name : kFamilies) {
      const Step step(fs::path(TROUPE_TEST_DATA) / "parity/families" / name);
      std::vector<Layout> layouts = apart;
      if (step.start.architecture().kv_heads % 2 == 0) layouts.insert(layouts.end(), together.begin(), together.end());
      for (const Layout& layout : layouts) {
        for (const char* stage : {"sft", "grpo", "dpo"}) {
          CAPTURE(name);
          CAPTURE(layout.tensor);
          CAPTURE(layout.data);
          CAPTURE(layout.stage);
          CAPTURE(stage);
          check_golden(step, stage, taken(step, stage, false, layout));
        }
      }
    }
  }

  TEST_CASE("so it has where the completions of a prompt share it") {
    for (const char* name : kFamilies) {
      const Step step(fs::path(TROUPE_TEST_DATA) / "parity/families" / name);
      for (const char* stage : {"grpo", "dpo"}) {
        CAPTURE(name);
        CAPTURE(stage);
        const UpdateTrace plain = taken(step, stage, false), shared = taken(step, stage, true);
        check_golden(step, stage, shared);
        CHECK(shared.logprobs.size() == plain.logprobs.size());
        CHECK_FALSE(shared.gradients.equal(plain.gradients));  // other sums: the prompt was read once
      }
    }
  }
}
