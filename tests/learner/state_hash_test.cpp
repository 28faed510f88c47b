#include "learner/state_hash.h"

#include <ATen/Functions.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include "common/base/checksum.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/learner/tiny_model.h"

using namespace troupe;

namespace {

const std::vector<TrainedStep> kSteps = {{1, {{3, std::string(32, 'a')}, {1, std::string(32, 'b')}}}, {2, {}}};

struct Hashes {
  std::string weights;
  std::string final;
};

/// Of a world of `size` ranks after two updates.
Hashes hashes_of(int size, const std::vector<TrainedStep>& steps = kSteps) {
  Hashes hashes;
  for (const std::string& error : run_ranks(size, 30, [&](Communicator& ranks) {
         Parameters parameters(tiny_architecture(), at::kBFloat16);
         ShardedOptimizer optimizer(parameters, tiny_start(parameters.layout()), OptimizerConfig(), 5, ranks);
         for (std::int64_t step = 1; step <= 2; ++step) {
           const at::Tensor gradient = tiny_gradient(parameters.layout(), step);
           optimizer.step(ranks.rank() == 0 ? gradient : at::zeros_like(gradient), step);
         }
         const Hashes own{weights_digest(optimizer).hash, final_hash(optimizer, steps)};
         if (ranks.rank() == 0)
           hashes = own;
         else
           CHECK(own.weights + own.final == "");
       })) {
    CHECK(error == "");
  }
  return hashes;
}

std::string bytes_by_name(const ParameterLayout& layout, const at::Tensor& flat) {
  const char* const names[] = {"model.embed_tokens.weight",
                               "model.layers.0.input_layernorm.weight",
                               "model.layers.0.mlp.down_proj.weight",
                               "model.layers.0.mlp.gate_proj.weight",
                               "model.layers.0.mlp.up_proj.weight",
                               "model.layers.0.post_attention_layernorm.weight",
                               "model.layers.0.self_attn.k_proj.bias",
                               "model.layers.0.self_attn.k_proj.weight",
                               "model.layers.0.self_attn.o_proj.weight",
                               "model.layers.0.self_attn.q_proj.bias",
                               "model.layers.0.self_attn.q_proj.weight",
                               "model.layers.0.self_attn.v_proj.bias",
                               "model.layers.0.self_attn.v_proj.weight",
                               "model.norm.weight"};
  std::string bytes;
  for (const char* name : names) {
    const ParameterSpec& spec = layout.find(name);
    const at::Tensor tensor = flat.narrow(0, spec.offset, spec.numel);
    bytes.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  }
  return bytes;
}

}  // namespace

TEST_SUITE("learner/state_hash") {
  TEST_CASE("a weights hash is XXH3-128 over the tensors' bytes by name, gaps left out") {
    Architecture architecture = tiny_architecture();
    architecture.hidden = 24;  // norms of 24 elements, each with a gap of 8 behind it
    const ParameterLayout layout(architecture);
    const at::Tensor flat = tiny_start(layout);
    const std::string bytes = bytes_by_name(layout, flat);

    CHECK(bytes.size() < flat.nbytes());
    CHECK(weights_hash(layout, flat) == xxh3_128_hex(bytes));
  }

  TEST_CASE("a weights digest has the hash of all and XXH3-64 of each tensor in the model's order") {
    const ParameterLayout layout(tiny_architecture());
    const at::Tensor flat = tiny_start(layout);
    const WeightsDigest digest = weights_digest(layout, flat);

    CHECK(digest.hash == weights_hash(layout, flat));
    REQUIRE(digest.tensors.size() == layout.tensors.size());
    for (std::size_t t = 0; t < layout.tensors.size(); ++t) {
      const at::Tensor tensor = flat.narrow(0, layout.tensors[t].offset, layout.tensors[t].numel);
      CHECK(digest.tensors[t] == xxh3_64(std::string_view(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes())));
    }
  }

  TEST_CASE("a final hash is over parameters, first and second moments, then steps with their groups") {
    const ThreadWorld world(1);
    const auto ranks = world.communicator(0);
    Parameters parameters(tiny_architecture(), at::kFloat);
    const ParameterLayout& layout = parameters.layout();
    ShardedOptimizer optimizer(parameters, tiny_start(layout), OptimizerConfig(), 5, *ranks);
    optimizer.step(tiny_gradient(layout, 1), 1);
    std::string bytes = bytes_by_name(layout, parameters.flat());
    bytes += bytes_by_name(layout, optimizer.exp_avg()) + bytes_by_name(layout, optimizer.exp_avg_sq());
    const std::string rest(7, '\0');  // of a little-endian u64
    bytes += '\1' + rest + '\3' + rest + std::string(32, 'a') + '\1' + rest + std::string(32, 'b') + '\2' + rest;

    CHECK(final_hash(optimizer, kSteps) == xxh3_128_hex(bytes));
  }

  TEST_CASE("hashes do not depend on the number of ranks") {
    const Hashes one = hashes_of(1);

    for (const int size : {2, 3}) {
      const Hashes other = hashes_of(size);
      CHECK(other.weights == one.weights);
      CHECK(other.final == one.final);
    }
    CHECK(one.weights.size() == 32);
    CHECK(one.final.size() == 32);
  }

  TEST_CASE("the final hash depends on moments, steps, groups, their order and their content") {
    const std::string a(32, 'a');
    const std::string b(32, 'b');
    const std::string original = hashes_of(1).final;

    CHECK(hashes_of(1, {}).final != original);
    CHECK(hashes_of(1, {}).final != hashes_of(1).weights);
    CHECK(hashes_of(1, {{1, {{1, b}, {3, a}}}, {2, {}}}).final != original);
    CHECK(hashes_of(1, {{1, {{3, a}, {1, a}}}, {2, {}}}).final != original);
    CHECK(hashes_of(1, {{1, {{3, a}, {1, b}}}, {3, {}}}).final != original);
    CHECK(hashes_of(1, {{1, {{3, a}, {1, b}}}, {2, {}}}).final == original);
  }
}
