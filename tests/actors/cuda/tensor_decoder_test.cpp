#include "actors/tensor_decoder.h"

#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <vector>

#include "common/model/cuda/device.h"
#include "common/model/cuda/peer_group.h"
#include "common/model/token_logprobs.h"
#include "common/model/transformer.h"
#include "tests/actors/engine_testing.h"
#include "tests/common/model/model_testing.h"

// An engine whose model ranks hold together on GPUs, which they take in turn: on a machine with one they share it.

using namespace troupe;

namespace {

Architecture architecture() {
  Architecture a = testing::small_architecture();
  a.hidden = 192;
  a.intermediate = 384;
  a.max_positions = 512;
  a.heads = 8;
  a.kv_heads = 4;
  a.head_size = 64;
  a.qkv_bias = true;
  return a;
}

EngineOptions joint_options(int ranks, std::int64_t slots, std::int64_t prefill_tokens = 512) {
  EngineOptions result = options(slots, prefill_tokens);
  result.on_gpu = true;
  result.tensor_parallel = ranks;
  return result;
}

std::vector<Request> requests() {
  std::vector<Request> all;
  for (std::uint64_t id = 0; id < 6; ++id) {
    all.push_back(request(id, 20 + 37 * id, 5, 30 + 20 * static_cast<std::int32_t>(id)));
    all.back().sampling.temperature = id % 2 == 0 ? 1.0 : 0.7;
  }
  return all;
}

/// Tokens whose log-probability has other bits by a packed forward of `count` ranks over each completion, as the learner's do.
std::int64_t differing(int count, const Parameters& whole, const Completions& completions) {
  std::int64_t differ = 0;
  ThreadRanks ranks(count);
  PeerRanks peers(count);
  int gpus = 0;
  check_cuda(cudaGetDeviceCount(&gpus), "cudaGetDeviceCount");
  ranks.run([&](int rank) {
    check_cuda(cudaSetDevice(rank % gpus), "cudaSetDevice");
    const Parameters part(std::make_shared<TensorCut>(whole.architecture(), peers.group(ranks, rank)), at::kBFloat16, at::kCUDA);
    for (std::int64_t unit = 0; unit + 1 < std::ssize(whole.layout().units); ++unit) part.set_unit_(unit, whole.unit(unit));
    const Transformer model(part);
    for (const Request& r : requests()) {
      for (const Completion& completion : completions.at(r.id)) {
        std::vector<std::int64_t> ids(r.prompt_ids.begin(), r.prompt_ids.end());
        ids.insert(ids.end(), completion.token_ids.begin(), completion.token_ids.end() - 1);
        const auto prompt = std::ssize(r.prompt_ids), length = std::ssize(ids), tokens = length - prompt + 1;
        const at::Tensor hidden = model.forward({at::tensor(ids, at::kLong), {0, length}}, nullptr).narrow(0, prompt - 1, tokens);
        const at::Tensor targets =
            at::tensor(std::vector<std::int64_t>(completion.token_ids.begin(), completion.token_ids.end()), at::kLong);
        const at::Tensor logp = token_logprobs(hidden.contiguous(), model.head_VH(), targets, r.sampling.temperature).logp_N.cpu();
        if (rank == 0) differ += (logp != at::tensor(completion.logprobs)).sum().item<std::int64_t>();
      }
    }
    ranks.meet();
  });
  return differ;
}

}  // namespace

TEST_SUITE("actors/cuda/tensor_decoder") {
  TEST_CASE("log-probabilities have the bits of the ranks' packed forward") {
    const Parameters whole = testing::random_parameters(architecture(), at::kBFloat16);
    for (const int ranks : {2, 4}) {
      CAPTURE(ranks);
      const Completions found = generate(whole, requests(), joint_options(ranks, 64));
      CHECK(differing(ranks, whole, found) == 0);
    }
  }

  TEST_CASE("completions do not depend on slots or the size of prompt pieces, nor on what is drawn on the host") {
    const Parameters whole = testing::random_parameters(architecture(), at::kBFloat16);
    std::vector<Request> all = requests();
    all[4].sampling.top_k = 5;
    const Completions expected = generate(whole, all, joint_options(2, 64));
    CHECK((generate(whole, all, joint_options(2, 3)) == expected));
    CHECK((generate(whole, all, joint_options(2, 17, 7)) == expected));
  }

  TEST_CASE("new weights between two tokens are used from then on") {
    const Parameters before = testing::random_parameters(architecture(), at::kBFloat16, 5),
                     after = testing::random_parameters(architecture(), at::kBFloat16, 6);
    const std::vector<Request> all = requests();
    const Completions expected = generate(after, all, joint_options(2, 8));
    Engine engine(before, 0, joint_options(2, 8));
    engine.submit(all[0]);
    Completions found;
    run(engine, found);
    engine.set_weights(after, 1);
    engine.submit(all[1]);
    run(engine, found);
    for (std::size_t i = 0; i < 5; ++i) CHECK(found.at(1)[i].logprobs == expected.at(1)[i].logprobs);
  }
}
