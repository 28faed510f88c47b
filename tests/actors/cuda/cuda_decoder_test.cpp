#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <bit>
#include <map>
#include <vector>

#include "actors/engine.h"
#include "common/model/token_logprobs.h"
#include "common/model/transformer.h"
#include "tests/common/model/model_testing.h"

using namespace troupe;

namespace {

Architecture architecture() {
  Architecture a = testing::small_architecture();
  a.hidden = 192;
  a.intermediate = 352;
  a.vocabulary = 9000;  // several chunks of logits
  a.max_positions = 512;
  a.heads = 14;
  a.kv_heads = 2;
  a.head_size = 64;
  a.qkv_bias = true;
  a.layers = 3;
  return a;
}

std::vector<Request> requests(const Architecture& a, double temperature) {
  std::vector<Request> result;
  for (std::uint64_t id = 0; id < 6; ++id) {
    Request request;
    request.id = request.group = id;
    request.seed = 11;
    request.samples = 5;
    for (std::uint64_t i = 0; i < 20 + 37 * id; ++i) request.prompt_ids.push_back(static_cast<std::int32_t>((id * 131 + i * 17) % static_cast<std::uint64_t>(a.vocabulary)));
    request.sampling.temperature = temperature;
    request.sampling.max_tokens = 30 + static_cast<std::int32_t>(id) * 20;
    result.push_back(request);
  }
  return result;
}

using Completions = std::map<std::uint64_t, std::vector<Completion>>;

Completions generate(const Parameters& parameters, const std::vector<Request>& requests, EngineOptions options) {
  options.on_gpu = true;
  Engine engine(parameters, 0, options);
  for (const Request& request : requests) engine.submit(request);
  Completions all;
  while (!engine.idle()) {
    for (FinishedRequest& finished : engine.step()) all[finished.id] = std::move(finished.completions);
  }
  return all;
}

bool same(const Completions& left, const Completions& right) {
  for (const auto& [id, completions] : left) {
    for (std::size_t i = 0; i < completions.size(); ++i) {
      if (completions[i].token_ids != right.at(id)[i].token_ids || completions[i].logprobs != right.at(id)[i].logprobs) return false;
    }
  }
  return left.size() == right.size();
}

Parameters on_gpu(const Parameters& parameters) {
  Parameters copy(parameters.architecture(), at::kBFloat16, at::kCUDA);
  copy.flat().copy_(parameters.flat());
  return copy;
}

}  // namespace

TEST_SUITE("actors/cuda/decoder") {
  TEST_CASE("completions do not depend on slots, memory, or the size of prompt pieces") {
    const Architecture a = architecture();
    const Parameters parameters = testing::random_parameters(a, at::kFloat);
    const std::vector<Request> all = requests(a, 1.0);
    const Completions expected = generate(parameters, all, {});
    EngineOptions few;
    few.slots = 3;
    CHECK(same(generate(parameters, all, few), expected));
    EngineOptions pieces;
    pieces.slots = 17;
    pieces.prefill_tokens = 7;
    CHECK(same(generate(parameters, all, pieces), expected));
  }

  TEST_CASE("a token's log-probability has the bits that the learner computes for it") {
    const Architecture a = architecture();
    const Parameters parameters = testing::random_parameters(a, at::kFloat);
    for (const double temperature : {1.0, 0.7}) {
      const std::vector<Request> all = requests(a, temperature);
      const Completions completions = generate(parameters, all, {});
      const Transformer model(on_gpu(parameters));
      std::int64_t compared = 0, differ = 0;
      for (const Request& request : all) {
        for (const Completion& completion : completions.at(request.id)) {
          std::vector<std::int64_t> ids(request.prompt_ids.begin(), request.prompt_ids.end());
          ids.insert(ids.end(), completion.token_ids.begin(), completion.token_ids.end() - 1);
          const auto prompt = std::ssize(request.prompt_ids), length = std::ssize(ids);
          const at::Tensor hidden = model.forward({at::tensor(ids, at::kLong), {0, length}}, nullptr).narrow(0, prompt - 1, length - prompt + 1);
          const at::Tensor targets = at::tensor(std::vector<std::int64_t>(completion.token_ids.begin(), completion.token_ids.end()), at::kLong);
          const at::Tensor logp = token_logprobs(hidden.contiguous(), model.head_VH(), targets, temperature).logp_N.cpu();
          for (std::size_t i = 0; i < completion.logprobs.size(); ++i, ++compared) {
            if (std::bit_cast<std::uint32_t>(logp.const_data_ptr<float>()[i]) != std::bit_cast<std::uint32_t>(completion.logprobs[i])) ++differ;
          }
        }
      }
      CHECK(compared > 2000);
      CHECK(differ == 0);
    }
  }

  TEST_CASE("draws follow the distribution, greedy ones take the highest logit, truncated ones agree with the CPU's sampler") {
    const Architecture a = architecture();
    const Parameters parameters = testing::random_parameters(a, at::kFloat);
    const std::vector<Request> greedy = requests(a, 0);
    const Completions completions = generate(parameters, greedy, {});
    const Transformer model(on_gpu(parameters));
    const std::vector<std::int64_t> prompt(greedy[2].prompt_ids.begin(), greedy[2].prompt_ids.end());
    const at::Tensor logits = model.logits(model.forward({at::tensor(prompt, at::kLong), {0, std::ssize(prompt)}}, nullptr).slice(0, -1)).cpu();
    CHECK(completions.at(2)[0].token_ids[0] == logits.argmax(1).item<std::int64_t>());

    // One draw of 4,000 samples against the probabilities: the share of each of the likeliest tokens to five standard deviations.
    Request many = greedy[2];
    many.samples = 4000;
    many.sampling.temperature = 0.5;
    many.sampling.max_tokens = 1;
    EngineOptions wide;
    wide.slots = 256;
    std::map<std::int32_t, double> count;
    const Completions drawn = generate(parameters, {many}, wide);
    for (const Completion& completion : drawn.at(2)) ++count[completion.token_ids[0]];
    const at::Tensor p = (logits[0] / 0.5).softmax(0);
    const auto [top, ids] = p.topk(20);
    for (std::int64_t i = 0; i < 20; ++i) {
      const double expected = top[i].item<double>(), share = count[static_cast<std::int32_t>(ids[i].item<std::int64_t>())] / 4000;
      CHECK(std::abs(share - expected) < 5 * std::sqrt(expected * (1 - expected) / 4000) + 1e-3);
    }

    many.sampling.top_k = 5;
    many.samples = 200;
    const Completions truncated = generate(parameters, {many}, wide);
    for (const Completion& completion : truncated.at(2)) {
      bool among = false;
      for (std::int64_t i = 0; i < 5; ++i) among = among || completion.token_ids[0] == ids[i].item<std::int64_t>();
      CHECK(among);
    }
  }

  TEST_CASE("new weights between two tokens are used from then on, and broken ones named") {
    const Architecture a = architecture();
    const Parameters first = testing::random_parameters(a, at::kFloat, 5), second = testing::random_parameters(a, at::kFloat, 6);
    EngineOptions options;
    options.on_gpu = true;
    const std::vector<Request> all = requests(a, 1.0);
    const Completions expected = generate(second, all, {});
    Engine engine(first, 0, options);
    engine.submit(all[0]);
    while (!engine.idle()) engine.step();
    engine.set_weights(second, 1);
    engine.submit(all[1]);
    while (!engine.idle()) {
      for (const FinishedRequest& finished : engine.step()) CHECK(finished.completions[0].token_ids == expected.at(1)[0].token_ids);
    }
    Parameters broken = testing::random_parameters(a, at::kFloat, 7);
    broken["model.norm.weight"].fill_(std::numeric_limits<float>::quiet_NaN());
    engine.set_weights(broken, 2);
    engine.submit(all[3]);
    CHECK_THROWS_WITH_AS([&] { while (!engine.idle()) engine.step(); }(), doctest::Contains("group 3, sample 0, position 0, policy version 2"), std::exception);
  }
}
