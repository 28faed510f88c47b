#include "learner/update_trace.h"

#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include "common/model/safetensors.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/common/rollout_log/scratch_folder.h"
#include "tests/learner/tiny_model.h"

using namespace troupe;

namespace {

using Floats = std::vector<float>;
using Integers = std::vector<std::int64_t>;

template <class T>
std::vector<T> values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return std::vector<T>(flat.const_data_ptr<T>(), flat.const_data_ptr<T>() + flat.numel());
}

/// Sequences of 2 + 1 and 1 + 2 tokens.
UpdateTrace two_sequences() {
  const std::vector<std::int32_t> first = {5, 6, 7};
  const std::vector<std::int32_t> second = {8, 9, 10};
  const std::vector<TokenSequence> sequences = {{first, 2}, {second, 1}};
  TokenLogprobs tokens;
  tokens.logp_N = at::tensor(Floats{-1, -2, -3});
  tokens.entropy_N = at::tensor(Floats{0.1F, 0.2F, 0.3F});
  UpdateTrace trace;
  trace.add(sequences, tokens);
  trace.loss = 0.75;
  return trace;
}

}  // namespace

TEST_SUITE("learner/update_trace") {
  TEST_CASE("a micro-batch adds its sequences, its forward pass and what the policy loss was taken of") {
    UpdateTrace trace = two_sequences();
    const Floats sampler = {-1.5F, -2.5F, -3.5F};
    const Floats old = {-1.25F, -2.25F, -3.25F};
    const std::vector<double> advantage = {1, -2, -2};
    const std::vector<double> weight = {0.5, 0.25, 0.25};
    std::vector<Trajectory> micro_batch(2);
    micro_batch[0].reward = 3;
    micro_batch[1].reward = -4;
    TokenBatch batch;
    batch.sampler_logp = sampler;
    batch.old_logp = old;
    batch.advantage = advantage;
    batch.weight = weight;
    trace.add_policy(micro_batch, batch);

    CHECK(trace.sequence_tokens == Integers{3, 3});
    CHECK(trace.prompt_tokens == Integers{2, 1});
    CHECK(trace.ids == Integers{5, 6, 7, 8, 9, 10});
    CHECK(trace.logprobs == Floats{-1, -2, -3});
    CHECK(trace.entropy == Floats{0.1F, 0.2F, 0.3F});
    CHECK(trace.rewards == Floats{3, -4});
    CHECK(trace.sampler_logprobs == sampler);
    CHECK(trace.old_logprobs == old);
    CHECK(trace.reference_logprobs.empty());
    CHECK(trace.advantages == Floats{1, -2, -2});
    CHECK(trace.token_weights == Floats{0.5F, 0.25F, 0.25F});
  }

  TEST_CASE("the ranks' parts are joined in the order of the ranks, whatever their sizes") {
    const auto errors = run_ranks(3, 30, [](Communicator& ranks) {
      UpdateTrace own = ranks.rank() == 1 ? UpdateTrace() : two_sequences();  // rank 1 had nothing to train
      for (std::int64_t& id : own.ids) id += 100 * ranks.rank();
      own.rewards.assign(static_cast<std::size_t>(ranks.rank()), 1.5F);

      const UpdateTrace whole = joined(std::move(own), ranks);

      CHECK(whole.ids == Integers{5, 6, 7, 8, 9, 10, 205, 206, 207, 208, 209, 210});
      CHECK(whole.sequence_tokens == Integers{3, 3, 3, 3});
      CHECK(whole.logprobs == Floats{-1, -2, -3, -1, -2, -3});
      CHECK(whole.rewards == Floats{1.5F, 1.5F, 1.5F});
      CHECK(whole.advantages.empty());
      CHECK(whole.loss == 1.5);
    });
    for (const std::string& error : errors) CHECK(error == "");
  }

  TEST_CASE("a dump spreads completion tokens over all tokens and names parameters as the model does") {
    const ScratchFolder folder;
    const ParameterLayout layout(tiny_architecture());
    UpdateTrace trace = two_sequences();
    trace.rewards = {3, -4};
    trace.token_weights = {0.5F, 0.25F, 0.125F};
    trace.weights_before = tiny_start(layout);
    trace.gradients = tiny_gradient(layout, 1);
    trace.weights_after = tiny_start(layout) * 2;
    write_dump(folder / "dump", layout, trace, {{"step", "4"}});

    const auto batch = read_safetensors(folder / "dump/batch.safetensors");
    CHECK(batch.size() == 6);  // without what the stage has no use for
    CHECK(values<std::int64_t>(batch.at("ids")) == Integers{5, 6, 7, 8, 9, 10});
    CHECK(values<std::int64_t>(batch.at("positions")) == Integers{0, 1, 2, 0, 1, 2});
    CHECK(values<std::int64_t>(batch.at("sequence_starts")) == Integers{0, 3, 6});
    CHECK(values<bool>(batch.at("completion_mask")) == std::vector<bool>{false, false, true, false, true, true});
    CHECK(values<float>(batch.at("rewards")) == Floats{3, -4});
    CHECK(values<float>(batch.at("token_weights")) == Floats{0, 0, 0.5F, 0, 0.25F, 0.125F});
    CHECK(read_safetensors_metadata(folder / "dump/batch.safetensors").at("step") == "4");
    const auto forward = read_safetensors(folder / "dump/forward.safetensors");
    CHECK(values<float>(forward.at("logprobs")) == Floats{0, 0, -1, 0, -2, -3});
    CHECK(values<float>(forward.at("entropy")) == Floats{0, 0, 0.1F, 0, 0.2F, 0.3F});
    CHECK(forward.at("loss").item<float>() == 0.75F);
    for (const auto& [name, flat] : {std::pair("weights_before", trace.weights_before),
                                     {"gradients", trace.gradients},
                                     {"weights_after", trace.weights_after}}) {
      const auto tensors = read_safetensors(folder / ("dump/" + std::string(name) + ".safetensors"));
      CHECK(tensors.size() == layout.tensors.size());
      for (const ParameterSpec& spec : layout.tensors) {
        CHECK(tensors.at(spec.name).sizes() == at::IntArrayRef(spec.shape));
        CHECK(at::equal(tensors.at(spec.name).flatten(), flat.narrow(0, spec.offset, spec.numel)));
      }
    }
  }

  TEST_CASE("a folder that cannot be made is an error that names it") {
    const ScratchFolder folder;
    spill(folder / "file", "x");
    CHECK_THROWS_WITH_AS(write_dump(folder / "file", ParameterLayout(tiny_architecture()), UpdateTrace(), {}),
                         doctest::Contains("file: cannot be made"), ConfigError);
  }
}
