#include "learner/stages/reward_trainer.h"

#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <cmath>

#include "common/model/checkpoint_io.h"
#include "common/model/safetensors.h"
#include "common/reward_model/with_score.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/common/reward_model/golden_texts.h"

using namespace troupe;

namespace {

/// Comparisons of neighbouring texts, or every other text safe, as make_reward_model_goldens.py has them.
std::vector<RewardExample> examples_of(const std::vector<std::vector<std::int32_t>>& texts, bool is_pairs) {
  std::vector<RewardExample> examples;
  for (std::size_t i = 0; i < texts.size(); i += 2) {
    if (is_pairs) examples.push_back({texts[i], texts[i + 1]});
    if (!is_pairs) examples.insert(examples.end(), {RewardExample{texts[i]}, RewardExample{texts[i + 1], {}, -1}});
  }
  return examples;
}

struct Update {
  RewardNumbers before;
  RewardStep step;
  at::Tensor gradient;
  at::Tensor after;
};

/// One update of a golden model on `ranks` ranks, in micro-batches of `micro_tokens`; rank 0's.
Update updated(const std::string& name, bool is_pairs, int ranks, std::int64_t micro_tokens) {
  Update result;
  const auto errors = run_ranks(ranks, 30, [&](Communicator& communicator) {
    Config config;
    config.optimizer.lr = 0.01;
    config.optimizer.eps = 1e-3;
    config.optimizer.weight_decay = 0.1;
    config.optimizer.clip_norm = 0;
    config.batch.micro_tokens = micro_tokens;
    const Parameters parameters = load_reward_model(reward_model_folder(name), at::kFloat);
    const auto all = examples_of(golden_texts(read_safetensors(reward_model_folder(name) / "golden.safetensors")), is_pairs);
    std::vector<RewardExample> own;
    for (auto i = static_cast<std::size_t>(communicator.rank()); i < all.size(); i += static_cast<std::size_t>(ranks))
      own.push_back(all[i]);
    RewardTrainer trainer(parameters, parameters.on(at::kCPU), config, communicator);
    const RewardNumbers before = trainer.evaluate(own, std::ssize(all));
    const RewardStep step = trainer.step(1, own, std::ssize(all), nullptr);
    const at::Tensor gradient = trainer.optimizer().gather(trainer.optimizer().gradient(), "gradient");
    if (communicator.rank() == 0) result = {before, step, gradient, parameters.flat().clone()};
  });
  for (const std::string& error : errors) CHECK(error == "");
  return result;
}

void check_golden(const std::string& name, bool is_pairs, int ranks, std::int64_t micro_tokens) {
  CAPTURE(name);
  CAPTURE(ranks);
  CAPTURE(micro_tokens);
  const auto golden = read_safetensors(reward_model_folder(name) / "golden.safetensors");
  const Update update = updated(name, is_pairs, ranks, micro_tokens);
  REQUIRE(update.after.defined());

  CHECK(update.step.numbers.loss == doctest::Approx(golden.at("loss").item<double>()).epsilon(1e-6));
  CHECK(update.before.loss == doctest::Approx(golden.at("loss").item<double>()).epsilon(1e-6));
  const ParameterLayout layout(read_architecture(reward_model_folder(name)));
  for (const ParameterSpec& spec : layout.tensors) {
    CAPTURE(spec.name);
    const auto part = [&](const at::Tensor& flat) { return flat.narrow(0, spec.offset, spec.numel).view(spec.shape); };
    const at::Tensor expected = golden.at("gradient." + spec.name);
    // fp32 against float64: 2^-24 of sums over some dozens of terms; measured 1e-6 of the largest.
    CHECK((part(update.gradient) - expected).abs().max().item<double>() <=
          1e-5 * std::max(0.1, expected.abs().max().item<double>()));
    // AdamW's first step is lr g / (|g| + eps): an error of 1e-6 in g is one of 1e-5 in it, at eps = 1e-3 and lr = 0.01.
    CHECK((part(update.after) - golden.at("after." + spec.name)).abs().max().item<double>() <= 3e-5);
  }
}

}  // namespace

TEST_SUITE("stages/reward_trainer") {
  TEST_CASE("loss, every gradient and the weights after AdamW are torch's, for comparisons and for judgements") {
    check_golden("llama", true, 1, 4096);
    check_golden("qwen2", false, 1, 4096);
    check_golden("qwen3", true, 1, 4096);
  }

  TEST_CASE("neither micro-batches nor ranks change what is trained") {
    check_golden("llama", true, 1, 20);
    check_golden("qwen2", false, 2, 1);
  }

  TEST_CASE("accuracy is the share of margins above 0, and the margin their mean") {
    // The scores are -2.807, 1.495, 1.855, 4.120, -2.985, 1.944; signs +, -, +, -, +, -.
    const Update update = updated("qwen2", false, 1, 4096);
    CHECK(update.step.numbers.accuracy == doctest::Approx(1.0 / 6));
    CHECK(update.step.numbers.margin == doctest::Approx((-2.807 - 1.495 + 1.855 - 4.120 - 2.985 - 1.944) / 6).epsilon(1e-3));
    // 0.891 over 0.831, -1.242 under -1.005, -1.269 under -1.130
    CHECK(updated("llama", true, 1, 4096).before.accuracy == doctest::Approx(1.0 / 3));
  }

  TEST_CASE("equal texts are told apart by nobody") {
    const auto errors = run_ranks(1, 30, [&](Communicator& communicator) {
      const Parameters parameters = load_reward_model(reward_model_folder("llama"), at::kFloat);
      RewardTrainer trainer(parameters, parameters.on(at::kCPU), Config(), communicator);
      const std::vector<RewardExample> tie = {{{1, 2, 3}, {1, 2, 3}}};
      const RewardNumbers numbers = trainer.evaluate(tie, 1);
      CHECK(numbers.accuracy == 0);
      CHECK(numbers.margin == 0);
      CHECK(numbers.loss == doctest::Approx(std::log(2.0)));
    });
    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("a language model keeps its tensors and gets a score, a function of the seed") {
    const Parameters language_model =
        load_parameters(std::filesystem::path(TROUPE_TEST_DATA) / "parity/families/llama", at::kFloat);
    const Parameters made = with_score(language_model, 7);
    CHECK(made.architecture().scores);
    CHECK(at::equal(made["model.layers.1.mlp.down_proj.weight"], language_model["model.layers.1.mlp.down_proj.weight"]));
    const at::Tensor score = made["score.weight"];
    CHECK(score.sizes() == at::IntArrayRef({1, 32}));
    CHECK(score.std().item<double>() == doctest::Approx(1 / std::sqrt(33.0)).epsilon(0.4));  // of 32 draws: 3 standard errors
    CHECK(at::equal(score, with_score(language_model, 7)["score.weight"]));
    CHECK_FALSE(at::equal(score, with_score(language_model, 8)["score.weight"]));
  }
}
