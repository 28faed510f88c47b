#include "actors/tensor_decoder.h"

#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/model/checkpoint_io.h"
#include "common/model/token_logprobs.h"
#include "tests/actors/engine_testing.h"
#include "tests/common/model/model_testing.h"

// An engine whose model ranks hold together, beside packed forward passes of such ranks, which are the learner's.

namespace fs = std::filesystem;
using namespace troupe;

namespace {

EngineOptions joint_options(int ranks, std::int64_t slots, std::int64_t prefill_tokens = 512) {
  EngineOptions result = options(slots, prefill_tokens);
  result.tensor_parallel = ranks;
  return result;
}

/// Heads and inner width that four ranks can share.
Architecture for_four() {
  Architecture a = testing::small_architecture();
  a.kv_heads = 4;
  return a;
}

std::vector<Request> requests() {
  std::vector<Request> all;
  for (std::uint64_t id = 1; id <= 5; ++id) all.push_back(request(id, 1 + (id * id) % 23, 3, 14));
  all[1].sampling.temperature = 0.7;
  all[3].samples = 1;
  for (Request& each : all) {
    for (std::int32_t& id : each.prompt_ids) id %= 64;  // the families' vocabulary
  }
  return all;
}

/// A completion's log-probabilities by one packed forward of `ranks` over prompt and completion.
std::vector<float> packed_logprobs(int count, const Parameters& whole, const Request& r, const Completion& completion) {
  std::vector<std::int64_t> ids(r.prompt_ids.begin(), r.prompt_ids.end());
  ids.insert(ids.end(), completion.token_ids.begin(), completion.token_ids.end());
  const auto prompt = std::ssize(r.prompt_ids), tokens = std::ssize(completion.token_ids);
  PackedSequences batch = testing::sequences_of({5}, whole.architecture().vocabulary);
  batch.ids_T = at::cat({batch.ids_T, at::tensor(ids, at::kLong)});
  batch.sequence_starts.push_back(5 + prompt + tokens);
  const at::Tensor targets = batch.ids_T.narrow(0, 5 + prompt, tokens).contiguous();
  std::vector<float> result;
  ThreadRanks ranks(count);
  ranks.run([&](int rank) {
    const Parameters part(std::make_shared<TensorCut>(whole.architecture(), ranks.group(rank)), whole.flat().scalar_type());
    for (std::int64_t unit = 0; unit + 1 < std::ssize(whole.layout().units); ++unit) part.set_unit_(unit, whole.unit(unit));
    const Transformer model(part);
    const at::Tensor hidden = model.forward(batch, nullptr).narrow(0, 5 + prompt - 1, tokens).contiguous();
    const at::Tensor logp = token_logprobs(hidden, model.head_VH(), targets, r.sampling.temperature).logp_N;
    if (rank == 0) result.assign(logp.const_data_ptr<float>(), logp.const_data_ptr<float>() + tokens);
  });
  return result;
}

void check_packed_bits(int ranks, const Parameters& whole) {
  CAPTURE(ranks);
  const Completions found = generate(whole, requests(), joint_options(ranks, 6, 10));
  for (const Request& r : requests()) {
    for (const Completion& completion : found.at(r.id)) CHECK(completion.logprobs == packed_logprobs(ranks, whole, r, completion));
  }
}

}  // namespace

TEST_SUITE("actors/tensor_decoder") {
  TEST_CASE("log-probabilities have the bits of the ranks' packed forward, for every family whose heads divide") {
    for (const char* name : {"llama", "llama3_rope", "yarn_rope", "qwen2", "qwen2_5_yarn", "qwen3", "qwen3_untied"}) {
      CAPTURE(name);
      const Parameters whole = load_parameters(fs::path(TROUPE_TEST_DATA) / "parity/families" / name, at::kFloat);
      check_packed_bits(2, whole);
    }
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Parameters whole = testing::random_parameters(for_four(), dtype);
      for (const int ranks : {1, 2, 4}) check_packed_bits(ranks, whole);
    }
  }

  TEST_CASE("tokens are those of the whole model, up to rounding: here to the last one") {
    const Parameters whole = testing::random_parameters(for_four(), at::kFloat);
    const Completions expected = generate(whole, requests(), options(6));
    for (const int ranks : {2, 4}) {
      const Completions found = generate(whole, requests(), joint_options(ranks, 6));
      for (const auto& [id, completions] : expected) {
        for (std::size_t i = 0; i < completions.size(); ++i) CHECK(found.at(id)[i].token_ids == completions[i].token_ids);
      }
    }
  }

  TEST_CASE("a completion's bits depend neither on slots nor chunks nor company nor memory") {
    const Parameters whole = testing::random_parameters(for_four(), at::kBFloat16);
    const Completions all = generate(whole, requests(), joint_options(2, 1));
    CHECK((generate(whole, requests(), joint_options(2, 64)) == all));
    CHECK((generate(whole, requests(), joint_options(2, 3, 7)) == all));
    CHECK((generate(whole, {requests()[2]}, joint_options(2, 5)).at(3) == all.at(3)));

    // A rank has a page of its heads: as much memory in all as one with all the heads.
    EngineOptions tight = joint_options(2, 64);
    const auto page = static_cast<double>(KvCache::page_bytes(whole.architecture(), at::kBFloat16));
    tight.kv_memory_gib = 8 * page / (1024.0 * 1024.0 * 1024.0);
    CHECK((generate(whole, requests(), tight) == all));
    tight.kv_memory_gib /= 2;  // a sequence of 256 positions can take 5 pages
    CHECK_THROWS_WITH_AS(Engine(whole, 1, tight), doctest::Contains("expected at least"), ConfigError);
  }

  TEST_CASE("new weights are shared out between two tokens") {
    const Parameters before = testing::random_parameters(for_four(), at::kFloat, 5),
                     after = testing::random_parameters(for_four(), at::kFloat, 6);
    Request r = request(1, 12, 3, 16);
    r.sampling.stop_ids.clear();
    Engine engine(before, 7, joint_options(4, 2, 5));
    engine.submit(r);
    for (int i = 0; i < 9; ++i) (void)engine.step();
    engine.set_weights(after, 8);
    Completions found;
    run(engine, found);

    int mixed = 0;
    for (const Completion& completion : found.at(1)) {
      const std::vector<float> under_old = packed_logprobs(4, before, r, completion),
                               under_new = packed_logprobs(4, after, r, completion);
      for (std::size_t i = 0; i < completion.versions.size(); ++i) {
        CHECK(completion.logprobs[i] == (completion.versions[i] == 7 ? under_old[i] : under_new[i]));
      }
      mixed += completion.versions.front() == 7 && completion.versions.back() == 8 ? 1 : 0;
    }
    CHECK(mixed > 0);
  }

  TEST_CASE("a logit that is not finite ends the generation and is named") {
    Parameters whole = testing::random_parameters(for_four(), at::kFloat);
    whole["model.layers.1.mlp.down_proj.weight"][3][95].fill_(INFINITY);  // the last rank's part
    Engine engine(whole, 9, joint_options(4, 2));
    engine.submit(request(1, 4, 2, 8));
    Completions none;
    CHECK_THROWS_WITH_AS(run(engine, none), doctest::Contains("group 1001, sample "), DeviceError);
  }

  TEST_CASE("what does not divide is refused by name") {
    const Parameters whole = testing::random_parameters(testing::small_architecture(), at::kFloat);
    CHECK_THROWS_WITH_AS(Engine(whole, 1, joint_options(4, 2)),
                         "actors.tensor_parallel = 4: expected a divisor of the model's num_key_value_heads, 2", ConfigError);
  }
}
