#include "common/model/tensor_cut.h"

#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "common/base/error.h"
#include "tests/common/model/model_testing.h"

using namespace troupe;

namespace {

/// A rank that computes nothing.
class Place final : public TensorGroup {
 public:
  Place(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void sum_(const at::Tensor&) override { FAIL("nothing is summed here"); }
  at::Tensor gather(const at::Tensor&) override { FAIL("nothing is gathered here"); return {}; }

 private:
  int rank_, size_;
};

Parameters part(const Architecture& whole, int rank, int size) {
  return Parameters(std::make_shared<TensorCut>(whole, std::make_shared<Place>(rank, size)), at::kFloat);
}

/// Element i is i.
Parameters counting(const Architecture& a) {
  Parameters parameters(a, at::kFloat);
  parameters.flat().copy_(at::arange(parameters.layout().total, at::kFloat));
  return parameters;
}

std::int64_t units(const Parameters& parameters) { return std::ssize(parameters.layout().units) - 1; }

std::string refusal(const Architecture& a, int ranks) {
  try {
    part_of(a, ranks);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_SUITE("model/tensor_cut") {
  TEST_CASE("a rank has whole heads and rows of gate and up, and the columns that take them") {
    Architecture a = testing::small_architecture();
    a.qkv_bias = a.qk_norm = true;
    const Parameters whole = counting(a), own = part(a, 1, 2);
    for (std::int64_t unit = 0; unit < units(whole); ++unit) own.set_unit_(unit, whole.unit(unit));

    CHECK(own.architecture().heads == 2);
    CHECK(own.architecture().kv_heads == 1);
    CHECK(own.architecture().head_size == 16);
    CHECK(own.whole_architecture() == a);
    const std::string block = "model.layers.1.";
    const auto rows = [&](const char* name, std::int64_t begin, std::int64_t count) {
      return own[block + name].equal(whole[block + name].narrow(0, begin, count));
    };
    CHECK(rows("self_attn.q_proj.weight", 32, 32));
    CHECK(rows("self_attn.k_proj.weight", 16, 16));
    CHECK(rows("self_attn.v_proj.weight", 16, 16));
    CHECK(rows("self_attn.q_proj.bias", 32, 32));
    CHECK(rows("self_attn.k_proj.bias", 16, 16));
    CHECK(rows("mlp.gate_proj.weight", 48, 48));
    CHECK(rows("mlp.up_proj.weight", 48, 48));
    CHECK(own[block + "self_attn.o_proj.weight"].equal(whole[block + "self_attn.o_proj.weight"].narrow(1, 32, 32)));
    CHECK(own[block + "mlp.down_proj.weight"].equal(whole[block + "mlp.down_proj.weight"].narrow(1, 48, 48)));
    for (const char* name : {"self_attn.q_norm.weight", "self_attn.k_norm.weight", "input_layernorm.weight", "post_attention_layernorm.weight"}) {
      CHECK(rows(name, 0, whole[block + name].size(0)));
    }
    CHECK(own["model.embed_tokens.weight"].equal(whole["model.embed_tokens.weight"]));
    CHECK(own["model.norm.weight"].equal(whole["model.norm.weight"]));
  }

  TEST_CASE("the parts of all ranks are the whole, and one part alone leaves the rest") {
    Architecture a = testing::small_architecture();
    a.kv_heads = 4;
    a.tied_embeddings = false;
    const Parameters whole = counting(a);
    Parameters again(a, at::kFloat);
    for (int rank = 0; rank < 4; ++rank) {
      const Parameters own = part(a, rank, 4);
      for (std::int64_t unit = 0; unit < units(whole); ++unit) {
        own.set_unit_(unit, whole.unit(unit));
        own.cut()->put_(unit, own.unit(unit), rank, again.unit(unit));
      }
      if (rank == 0) CHECK(again["model.layers.0.mlp.down_proj.weight"].narrow(1, 24, 72).abs().max().item<float>() == 0);
    }
    for (const ParameterSpec& spec : whole.layout().tensors) {
      CAPTURE(spec.name);
      CHECK(again[spec.name].equal(whole[spec.name]));
    }
  }

  TEST_CASE("a number that the ranks do not divide is named") {
    const Architecture a = testing::small_architecture();
    CHECK(refusal(a, 2) == "");
    CHECK(refusal(a, 4) == "learners.tensor_parallel = 4: expected a divisor of the model's num_key_value_heads, 2");
    CHECK(refusal(a, 8) == "learners.tensor_parallel = 8: expected a divisor of the model's num_attention_heads, 4");
    Architecture odd = a;
    odd.intermediate = 97;
    CHECK(refusal(odd, 2) == "learners.tensor_parallel = 2: expected a divisor of the model's intermediate_size, 97");
  }
}
