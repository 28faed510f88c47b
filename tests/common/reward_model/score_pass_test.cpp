#include "common/reward_model/score_pass.h"

#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <cmath>

#include "common/base/error.h"
#include "common/model/checkpoint_io.h"
#include "common/model/safetensors.h"
#include "tests/common/reward_model/golden_texts.h"
#include "tests/common/rollout_log/scratch_folder.h"

using namespace troupe;

namespace {

std::vector<float> scores_of(const Transformer& model, const std::vector<std::vector<std::int32_t>>& texts) {
  const std::vector<std::span<const std::int32_t>> views(texts.begin(), texts.end());
  return ScorePass(model, views, std::nullopt).scores();
}

}  // namespace

TEST_SUITE("reward_model/score_pass") {
  TEST_CASE("each family's scores are those of transformers, and the others in the batch change no bit of one") {
    for (const char* name : {"llama", "qwen2", "qwen3"}) {
      CAPTURE(name);
      const Transformer model(load_reward_model(reward_model_folder(name), at::kFloat));
      const auto golden = read_safetensors(reward_model_folder(name) / "golden.safetensors");
      const auto texts = golden_texts(golden);

      const std::vector<float> together = scores_of(model, texts);

      for (std::size_t i = 0; i < texts.size(); ++i) {
        CAPTURE(i);
        // fp32 against float64 on scores of up to 4, over one layer.
        CHECK(std::abs(together[i] - golden.at("scores")[static_cast<std::int64_t>(i)].item<float>()) < 1e-5);
        CHECK(scores_of(model, {texts[i]}) == std::vector<float>{together[i]});
      }
    }
  }

  TEST_CASE("tokens of a text are scored as the texts that end with them, and their gradients add up") {
    const Transformer model(load_reward_model(reward_model_folder("qwen2"), at::kFloat));
    const std::vector<std::int32_t> text = {3, 1, 4, 1, 5, 9, 2, 6};
    const std::vector<std::int32_t> other = {2, 7, 1};
    const std::vector<TextRows> texts = {{text, 5}, {other, 2}};
    at::Tensor together = at::zeros({model.parameters().layout().total}, at::kFloat);
    at::Tensor apart = at::zeros_like(together);

    ScorePass pass(model, texts, Recompute::kNone);
    pass.backward(std::vector<double>{0.5, -1, 2, 0.25}, together);

    REQUIRE(pass.scores().size() == 4);
    const std::vector<std::pair<std::vector<std::int32_t>, double>> endings = {
        {{3, 1, 4, 1, 5, 9}, 0.5}, {{3, 1, 4, 1, 5, 9, 2}, -1}, {text, 2}, {other, 0.25}};
    for (std::size_t i = 0; i < endings.size(); ++i) {
      const std::span<const std::int32_t> view = endings[i].first;
      ScorePass one(model, std::span(&view, 1), Recompute::kNone);
      CHECK(one.scores() == std::vector<float>{pass.scores()[i]});
      one.backward(std::span(&endings[i].second, 1), apart);
    }
    // Sums of fp32 terms in another order.
    const float most = at::max(at::abs(apart)).item().toFloat();
    CHECK(at::max(at::abs(at::sub(together, apart))).item().toFloat() < 1e-5F * most);
  }

  TEST_CASE("texts that share what stands before their scores have the same ones, and their gradients but for rounding") {
    const Transformer model(load_reward_model(reward_model_folder("qwen3"), at::kFloat));
    const std::vector<std::int32_t> first = {3, 1, 4, 1, 5}, second = {3, 1, 4, 2}, third = {3, 1, 4};
    const std::vector<TextRows> texts = {{first, 2}, {second, 2}, {third, 2}};
    const std::vector<double> grad = {0.5, -1, 2, 0.25, 4, 1};
    at::Tensor plain = at::zeros({model.parameters().layout().total}, at::kFloat), shared = at::zeros_like(plain);

    ScorePass apart(model, texts, Recompute::kNone), together(model, texts, Recompute::kNone, true);
    apart.backward(grad, plain);
    together.backward(grad, shared);

    CHECK(together.scores() == apart.scores());
    CHECK_FALSE(at::equal(shared, plain));  // the three tokens were read once
    CHECK(at::max(at::abs(at::sub(shared, plain))).item().toFloat() < 1e-5F * at::max(at::abs(plain)).item().toFloat());
  }

  TEST_CASE("bf16 scores stay near") {
    const Transformer model(load_reward_model(reward_model_folder("qwen2"), at::kBFloat16));
    const auto golden = read_safetensors(reward_model_folder("qwen2") / "golden.safetensors");
    const std::vector<float> scores = scores_of(model, golden_texts(golden));
    // A hidden state is rounded to 2^-9 of it, 32 of them with weights of 0.3 are added.
    for (std::size_t i = 0; i < scores.size(); ++i)
      CHECK(std::abs(scores[i] - golden.at("scores")[static_cast<std::int64_t>(i)].item<float>()) < 0.1);
  }

  TEST_CASE("a reward model is saved as transformers saves it, and is no language model") {
    const ScratchFolder scratch;
    const Parameters model = load_reward_model(reward_model_folder("llama"), at::kBFloat16);

    save_weights(model, scratch / "out");

    CHECK(read_architecture(scratch / "out") == model.architecture());
    const auto saved = read_safetensors(scratch / "out/model.safetensors");
    const auto original = read_safetensors(reward_model_folder("llama") / "model.safetensors");
    CHECK(saved.size() == original.size());
    for (const auto& [name, tensor] : original) CHECK(at::equal(saved.at(name), tensor));
    CHECK(slurp(scratch / "out/config.json").find("\"LABEL_0\"") != std::string::npos);
    CHECK_THROWS_WITH_AS(load_parameters(scratch / "out", at::kFloat),
                         doctest::Contains("expected a language model, found a reward model"), ConfigError);
    const auto language_model = std::filesystem::path(TROUPE_TEST_DATA) / "parity/families/llama";
    CHECK_THROWS_WITH_AS(load_reward_model(language_model, at::kFloat),
                         doctest::Contains("expected a reward model, found a language model"), ConfigError);
  }
}
