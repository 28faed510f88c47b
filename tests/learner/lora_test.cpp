#include "learner/lora.h"

#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <cmath>

#include "common/base/files.h"
#include "common/model/safetensors.h"
#include "learner/step_gradients.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/learner/temporary_folder.h"
#include "tests/learner/tiny_model.h"

using namespace troupe;

namespace {

Parameters base() {
  Parameters parameters(tiny_architecture(), at::kFloat);
  parameters.flat().copy_(tiny_start(parameters.layout()));
  return parameters;
}

const LoraConfig kConfig{.rank = 2, .alpha = 6, .targets = "q_proj, down_proj"};
const std::string kQuery = "base_model.model.model.layers.0.self_attn.q_proj.";
const std::string kDown = "base_model.model.model.layers.0.mlp.down_proj.";

/// Adapters whose B is not zero.
LoraAdapters adapters_at_work() {
  LoraAdapters lora(kConfig, base(), 7);
  lora.parameters().flat().add_(tiny_gradient(lora.parameters().layout(), 1));
  return lora;
}

}  // namespace

TEST_SUITE("learner/lora") {
  TEST_CASE("each target has its two adapters under PEFT's names, and nothing else is trained") {
    const ParameterLayout layout = lora_layout(kConfig, tiny_architecture());

    REQUIRE(layout.tensors.size() == 4);
    CHECK(layout.find(kQuery + "lora_A.weight").shape == std::vector<std::int64_t>{2, 16});
    CHECK(layout.find(kQuery + "lora_B.weight").shape == std::vector<std::int64_t>{16, 2});
    CHECK(layout.find(kDown + "lora_A.weight").shape == std::vector<std::int64_t>{2, 24});
    CHECK(layout.find(kDown + "lora_B.weight").shape == std::vector<std::int64_t>{16, 2});
    Config config;
    CHECK((trained_layout(config, tiny_architecture()).tensors == ParameterLayout(tiny_architecture()).tensors));
    config.lora = kConfig;
    CHECK((trained_layout(config, tiny_architecture()).tensors == layout.tensors));
  }

  TEST_CASE("new adapters add nothing: A is uniform within 1 / sqrt(in) by the seed alone, B is zero") {
    const LoraAdapters lora(kConfig, base(), 7);
    const at::Tensor a = lora.parameters()[kQuery + "lora_A.weight"];

    CHECK(a.abs().max().item<float>() <= 0.25F);
    CHECK(a.abs().max().item<float>() > 0.2F);
    CHECK(a.min().item<float>() < -0.1F);
    CHECK(at::equal(lora.parameters()[kQuery + "lora_B.weight"], at::zeros({16, 2})));
    CHECK(at::equal(LoraAdapters(kConfig, base(), 7).parameters().flat(), lora.parameters().flat()));
    CHECK(!at::equal(LoraAdapters(kConfig, base(), 8).parameters().flat(), lora.parameters().flat()));
    Parameters model(tiny_architecture(), at::kFloat);
    lora.merge_into_(model);
    CHECK(at::equal(model.flat(), base().flat()));
  }

  TEST_CASE("the model is the frozen weights and alpha / rank B A, in each dtype") {
    const LoraAdapters lora = adapters_at_work();
    Parameters model(tiny_architecture(), at::kFloat);
    Parameters small(tiny_architecture(), at::kBFloat16);
    lora.merge_into_(model);
    lora.merge_into_(small);

    const at::Tensor a = lora.parameters()[kDown + "lora_A.weight"].to(at::kDouble);
    const at::Tensor b = lora.parameters()[kDown + "lora_B.weight"].to(at::kDouble);
    const std::string down = "model.layers.0.mlp.down_proj.weight", up = "model.layers.0.mlp.up_proj.weight";
    const at::Tensor expected = base()[down].to(at::kDouble) + 3.0 * at::mm(b, a);
    CHECK(at::allclose(model[down].to(at::kDouble), expected, 1e-5, 1e-6));
    CHECK(!at::allclose(model[down], base()[down], 1e-2, 1e-2));
    CHECK(at::equal(model[up], base()[up]));
    CHECK(at::equal(small[down], model[down].to(at::kBFloat16)));
  }

  TEST_CASE("the projected gradient is autograd's through the merged weights") {
    const LoraAdapters lora = adapters_at_work();
    const ParameterLayout layout = base().layout();
    const at::Tensor gradients = tiny_gradient(layout, 2);
    const at::Tensor projected = lora.project(gradients);

    for (const std::string& module : {kQuery, kDown}) {
      const std::string weight = module.substr(std::string("base_model.model.").size()) + "weight";
      const ParameterSpec& spec = layout.find(weight);
      const at::Tensor whole = gradients.narrow(0, spec.offset, spec.numel).view(spec.shape).to(at::kDouble);
      const at::Tensor a = lora.parameters()[module + "lora_A.weight"].to(at::kDouble).detach().requires_grad_();
      const at::Tensor b = lora.parameters()[module + "lora_B.weight"].to(at::kDouble).detach().requires_grad_();
      ((base()[weight].to(at::kDouble) + 3.0 * at::mm(b, a)) * whole).sum().backward();
      for (const auto& [name, leaf] : {std::pair{"lora_A.weight", a}, {"lora_B.weight", b}}) {
        const ParameterSpec& place = lora.parameters().layout().find(module + name);
        const at::Tensor found = projected.narrow(0, place.offset, place.numel).view(place.shape);
        CHECK(leaf.grad().abs().max().item<double>() > 0.01);
        CHECK(at::allclose(found.to(at::kDouble), leaf.grad(), 1e-5, 1e-6));
      }
    }
  }

  TEST_CASE("a step moves the adapters and through them the model, whose other weights stay") {
    const auto errors = run_ranks(2, 30, [&](Communicator& communicator) {
      Config config;
      config.lora = kConfig;
      config.optimizer.lr = 0.01;
      const std::optional<LoraAdapters> lora = make_lora(config, base());
      const Parameters model(tiny_architecture(), at::kFloat);
      ShardedOptimizer optimizer = make_optimizer(lora, model, base(), config, communicator);
      CHECK(at::equal(model.flat(), base().flat()));
      CHECK(optimizer.total() == lora->parameters().layout().total);

      const Transformer transformer(model);
      StepGradients gradients(transformer, optimizer, &*lora, 1);
      for (std::int64_t unit = 0; unit < 3; ++unit) {
        gradients.unit(unit).copy_(WholeGradients(model.layout(), tiny_gradient(model.layout(), 1)).unit(unit));
      }
      gradients.step(1, nullptr);

      const std::string query = "model.layers.0.self_attn.q_proj.weight", key = "model.layers.0.self_attn.k_proj.weight";
      CHECK(!at::equal(model[query], base()[query]));
      CHECK(at::equal(model[key], base()[key]));
      Parameters merged(tiny_architecture(), at::kFloat);
      lora->merge_into_(merged);
      CHECK(at::equal(model.flat(), merged.flat()));
    });
    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("what is saved are the adapters alone, and what PEFT asks about them") {
    const TemporaryFolder folder;
    const LoraAdapters lora = adapters_at_work();
    lora.save(folder.path() / "adapter", "some/model");

    const auto tensors = read_safetensors(folder.path() / "adapter" / "adapter_model.safetensors");
    CHECK(tensors.size() == 4);
    CHECK(at::equal(tensors.at(kDown + "lora_B.weight"), lora.parameters()[kDown + "lora_B.weight"]));
    const std::string config = read_file(folder.path() / "adapter" / "adapter_config.json");
    CHECK(config.find("\"base_model_name_or_path\": \"some/model\"") != std::string::npos);
    CHECK(config.find("\"r\": 2") != std::string::npos);
    CHECK(config.find("\"lora_alpha\": 6.0") != std::string::npos);
  }
}
