#include "common/model/transformer.h"

#include <cstring>

#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include "common/base/error.h"
#include "common/model/token_logprobs.h"
#include "tests/common/model/golden_model.h"
#include "tests/common/model/model_testing.h"

using namespace troupe;
using namespace troupe::testing;

TEST_SUITE("model/transformer") {
  TEST_CASE("fp32 agrees with transformers and autograd in float64") {
    // Sums of up to 100 terms, a few layers deep: some 20 roundings of 2^-24 each.
    constexpr double kTolerance = 2e-6;
    for (const char* name : {"llama", "qwen2", "qwen3"}) {
      CAPTURE(name);
      const Golden golden(name);
      const Transformer model = golden.model(at::kFloat);

      const Computed found = compute(golden, model);

      CHECK(error_of(found.logits, golden.tensors.at("logits")) < kTolerance);
      CHECK(error_of(found.logprobs.logp_N, golden.tensors.at("logp")) < kTolerance);
      CHECK(error_of(found.logprobs.entropy_N, golden.tensors.at("entropy")) < kTolerance);
      for (const ParameterSpec& spec : model.parameters().layout().tensors) {
        CAPTURE(spec.name);
        const at::Tensor gradient = found.gradients.narrow(0, spec.offset, spec.numel).view(spec.shape);
        CHECK(error_of(gradient, golden.tensors.at("gradient." + spec.name)) < 5 * kTolerance);
      }
    }
  }

  TEST_CASE("bf16 agrees with float64 to a few of its own roundings") {
    for (const char* name : {"llama", "qwen2", "qwen3"}) {
      CAPTURE(name);
      const Golden golden(name);
      const Transformer model = golden.model(at::kBFloat16);

      const Computed found = compute(golden, model);

      // Relative rounding 2^-9 = 0.002; about ten in a row, of random signs, forward and as many backward.
      CHECK(rms_error_of(found.logits, golden.tensors.at("logits")) < 0.02);
      for (const ParameterSpec& spec : model.parameters().layout().tensors) {
        CAPTURE(spec.name);
        const at::Tensor gradient = found.gradients.narrow(0, spec.offset, spec.numel).view(spec.shape);
        // The same shift of all keys changes no probability but through their positions: the terms of its gradient cancel.
        const double tolerance = spec.name.find("k_proj.bias") == std::string::npos ? 0.05 : 0.1;
        CHECK(rms_error_of(gradient, golden.tensors.at("gradient." + spec.name)) < tolerance);
      }
    }
  }

  TEST_CASE("gradients are added to what the buffer holds") {
    const Golden golden("llama");
    const Transformer model = golden.model(at::kFloat);
    Activations saved;
    const at::Tensor hidden = model.forward(golden.batch, &saved);
    const at::Tensor grad = at::ones_like(hidden);
    at::Tensor once = at::zeros({model.parameters().layout().total}, at::kFloat), twice = once.clone();

    model.backward(golden.batch, saved, grad, once);
    model.backward(golden.batch, saved, grad, twice);
    model.backward(golden.batch, saved, grad, twice);

    CHECK(error_of(twice, once * 2.0) < 1e-6);
  }

  TEST_CASE("memory of earlier activations is used again and changes no bit") {
    const Architecture a = testing::small_architecture();
    const Transformer model(testing::random_parameters(a, at::kFloat));
    const PackedSequences large = testing::sequences_of({40, 30}, a.vocabulary), small = testing::sequences_of({9}, a.vocabulary);
    Activations fresh, used;

    const at::Tensor expected = model.forward(small, &fresh).clone();
    model.forward(large, &used);
    const void* memory = used.values.data_ptr();
    const at::Tensor found = model.forward(small, &used);

    CHECK(used.values.data_ptr() == memory);
    CHECK(found.equal(expected));
  }

  TEST_CASE("weights changed in place change the model, by whatever handle") {
    const Architecture a = testing::small_architecture();
    const PackedSequences batch = testing::sequences_of({20}, a.vocabulary);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      Parameters parameters = testing::random_parameters(a, dtype);
      const Parameters others = testing::random_parameters(a, dtype, 6);
      const Transformer model(parameters);
      const auto logits_of = [&](const Transformer& of) { return of.logits(of.forward(batch, nullptr)); };
      const at::Tensor before = logits_of(model).clone();

      parameters.flat().copy_(others.flat());
      CHECK(logits_of(model).equal(logits_of(Transformer(others))));

      parameters["model.layers.1.mlp.down_proj.weight"].zero_();
      const at::Tensor by_view = logits_of(model).clone();
      CHECK(by_view.equal(logits_of(Transformer(parameters))));
      CHECK_FALSE(by_view.equal(before));
    }
  }

  TEST_CASE("weights written past ATen count once weights_changed is called") {
    const Architecture a = testing::small_architecture();
    const PackedSequences batch = testing::sequences_of({20}, a.vocabulary);
    Parameters parameters = testing::random_parameters(a, at::kFloat);
    const Parameters others = testing::random_parameters(a, at::kFloat, 6);
    Transformer model(parameters);
    model.forward(batch, nullptr);

    std::memcpy(parameters.flat().data_ptr(), others.flat().data_ptr(), others.flat().nbytes());
    model.weights_changed();

    CHECK(model.forward(batch, nullptr).equal(Transformer(others).forward(batch, nullptr)));
  }

  TEST_CASE("ids and positions that the model does not have are refused by name") {
    Architecture a = testing::small_architecture();
    a.max_positions = 8;
    const Transformer model(testing::random_parameters(a, at::kFloat));
    PackedSequences batch = testing::sequences_of({4}, a.vocabulary);

    CHECK_THROWS_WITH_AS(model.forward(testing::sequences_of({9}, a.vocabulary), nullptr),
                         "position 8 at row 8 is outside the model's 8 positions", ConfigError);
    batch.ids_T[2] = 104;
    CHECK_THROWS_WITH_AS(model.forward(batch, nullptr), "token id 104 at row 2 is outside the model's vocabulary of 104",
                         ConfigError);
    batch.ids_T[2] = -1;
    CHECK_THROWS_AS(model.forward(batch, nullptr), ConfigError);
  }

  TEST_CASE("an empty batch gives no rows") {
    const Architecture a = testing::small_architecture();
    const Transformer model(testing::random_parameters(a, at::kFloat));

    CHECK(model.forward({at::empty({0}, at::kLong), {0}}, nullptr).size(0) == 0);
  }
}
