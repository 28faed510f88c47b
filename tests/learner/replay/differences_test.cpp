#include "learner/replay/differences.h"

#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <limits>

#include "tests/learner/tiny_model.h"

using namespace troupe;

namespace {

const ParameterLayout kLayout(tiny_architecture());
const ParameterSpec& kDown = kLayout.find("model.layers.0.mlp.down_proj.weight");  // [16, 24]

at::Tensor start() { return tiny_start(kLayout); }

/// A copy with one element changed.
at::Tensor with(const at::Tensor& flat, std::int64_t at, float value) {
  at::Tensor changed = flat.clone();
  changed.mutable_data_ptr<float>()[at] = value;
  return changed;
}

StepTrained record() { return {4, "aa", 0, 0.25, 1.5, 2, 6, std::vector<std::uint64_t>(kLayout.tensors.size(), 7)}; }

}  // namespace

TEST_SUITE("learner/replay/differences") {
  TEST_CASE("an element is named by its place in the tensor") {
    CHECK(element_name(kDown, 0) == "model.layers.0.mlp.down_proj.weight[0, 0]");
    CHECK(element_name(kDown, 24 * 3 + 5) == "model.layers.0.mlp.down_proj.weight[3, 5]");
    CHECK(element_name(kLayout.find("model.norm.weight"), 9) == "model.norm.weight[9]");
  }

  TEST_CASE("the first element with other bits is named with both values") {
    const at::Tensor flat = with(start(), kDown.offset + 29, 0.5F);
    CHECK(!first_difference(kLayout, flat, flat.clone()));

    at::Tensor other = with(flat, kDown.offset + 29, 0.5000001F);
    other = with(other, kDown.offset + 30, 9.0F);
    CHECK(first_difference(kLayout, flat, other) ==
          "model.layers.0.mlp.down_proj.weight[1, 5]: recorded 0.5, replayed 0.5000001192092896");
    CHECK(first_difference(kLayout, flat, with(flat, kLayout.total - 1, 3.0F)).value().starts_with("model.norm.weight[15]: "));
    CHECK(first_difference(kLayout, flat, with(flat, 0, 3.0F)).value().starts_with("model.embed_tokens.weight[0, 0]: "));
  }

  TEST_CASE("of a learner's state the weights come first, then both moments, then the number of updates") {
    const LearnerState recorded{{start(), at::mul(start(), 0.5), at::mul(start(), 0.25), 3}};
    const auto change = [&](auto part, LearnerState state) {
      state.*part = with(state.*part, kDown.offset + 29, 7.0F);
      return state;
    };
    const std::string place = "model.layers.0.mlp.down_proj.weight[1, 5]: recorded ";
    CHECK(!first_difference(kLayout, recorded, recorded));
    const LearnerState count{recorded.master, recorded.exp_avg, recorded.exp_avg_sq, 4};
    CHECK(first_difference(kLayout, recorded, count) == "updates: recorded 3, replayed 4");
    const LearnerState second = change(&LearnerState::exp_avg_sq, count);
    CHECK(first_difference(kLayout, recorded, second).value().starts_with("second moment of " + place));
    const LearnerState first = change(&LearnerState::exp_avg, second);
    CHECK(first_difference(kLayout, recorded, first).value().starts_with("first moment of " + place));
    CHECK(first_difference(kLayout, recorded, change(&LearnerState::master, first)).value().starts_with(place));
  }

  TEST_CASE("bits are compared: minus zero is not zero, a NaN is itself") {
    const at::Tensor zero = with(start(), 0, 0.0F);
    CHECK(first_difference(kLayout, zero, with(zero, 0, -0.0F)) == "model.embed_tokens.weight[0, 0]: recorded 0, replayed -0");
    const at::Tensor nan = with(start(), 0, std::numeric_limits<float>::quiet_NaN());
    CHECK(!first_difference(kLayout, nan, nan.clone()));
  }

  TEST_CASE("alignment gaps between tensors do not count") {
    Architecture architecture = tiny_architecture();
    architecture.hidden = 24;
    const ParameterLayout layout(architecture);
    const ParameterSpec& norm = layout.find("model.layers.0.input_layernorm.weight");  // 24 elements, then a gap of 8
    const at::Tensor flat = tiny_start(layout);
    REQUIRE(norm.numel == 24);
    CHECK(!first_difference(layout, flat, with(flat, norm.offset + 24, 1.5F)));
    CHECK(first_difference(layout, flat, with(flat, norm.offset + 23, 1.5F)));
  }

  TEST_CASE("of a step the loss is compared first, then the gradient norm, then the weights by tensor") {
    StepTrained other = record();
    other.unix_s = 99;
    CHECK(!first_difference(kLayout, record(), other));

    other.weights_hash = "bb";
    other.tensor_hashes[2] = 8;
    const std::string tensor = kLayout.tensors[2].name;
    CHECK(first_difference(kLayout, record(), other) == "weights: recorded hash aa, replayed bb; first in tensor " + tensor);
    other.grad_norm = 1.25;
    CHECK(first_difference(kLayout, record(), other) == "gradient norm: recorded 1.5, replayed 1.25");
    other.loss = 0.2500000000000001;
    CHECK(first_difference(kLayout, record(), other) == "loss: recorded 0.25, replayed 0.2500000000000001");
  }

  TEST_CASE("a step whose hash was not recorded is compared without; a hash that its tensors do not bear out is told") {
    StepTrained recorded = record();
    StepTrained replayed = record();
    replayed.weights_hash = "bb";
    CHECK(first_difference(kLayout, recorded, replayed).value().ends_with("the ledger contradicts itself"));
    recorded.weights_hash.clear();
    recorded.tensor_hashes.clear();
    CHECK(!first_difference(kLayout, recorded, replayed));
  }

  TEST_CASE("a change is told by its extent and its largest element") {
    CHECK(describe_change(kLayout, start(), start()) == "the same bits");
    at::Tensor changed = with(with(start(), 0, 1.0F), 3, 1.0F);
    const at::Tensor before = with(start(), kDown.offset, 0.25F);
    changed = with(changed, kDown.offset, -2.0F);
    CHECK(describe_change(kLayout, before, changed) ==
          "3 elements in 2 of 14 tensors; most in model.layers.0.mlp.down_proj.weight[0, 0]: 0.25 -> -2");
  }
}
